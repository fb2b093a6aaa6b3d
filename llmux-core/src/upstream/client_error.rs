//! The errors of providers that a client could take for its own (rule F6).
//!
//! `router` passes each error of a provider through it. Every other error keeps what the provider said (rule F3).

use crate::error::{Error, ErrorKind};

/// Returns the error for the client. A 401 becomes a 502, and a 403 says whose it is.
pub(super) fn for_client(error: Error) -> Error {
    let status = error.first_status();
    if error.kind() != ErrorKind::Provider || !matches!(status, 401 | 403) {
        return error;
    }
    let message = format!("the provider refused the request with status {status}: {}", error.message());
    let text = |text: &str| serde_json::Value::from(text).to_string();
    let (origin, mut document) = error.split();
    let mut edits =
        vec![("/error/message", text(&message)), ("/error/type", text(ErrorKind::Provider.as_str()))];
    if status == 401 {
        edits.push(("/status", ErrorKind::Provider.status().to_string()));
        edits.push(("/error/code", text("provider_authentication")));
    }
    for (pointer, value) in edits {
        // An `error` that is no object has no such members.
        let _ = document.set(pointer, &value);
    }
    Error::join(origin, document)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn seen(status: u16) -> (u16, Value) {
        let error =
            json!({"message": "no", "type": "t", "param": null, "code": "invalid_api_key", "more": 1});
        let error = for_client(Error::from_parts(ErrorKind::Provider, status, error, None));
        let body: Value = serde_json::from_slice(&error.body()).expect("JSON");
        (error.status(), body["error"].clone())
    }

    #[test]
    fn f6_a_401_of_a_provider_reaches_the_client_as_502() {
        let expected = json!({
            "message": "the provider refused the request with status 401: no", "type": "provider_error",
            "param": null, "code": "provider_authentication", "more": 1,
        });
        assert_eq!(seen(401), (502, expected));
    }

    #[test]
    fn f6_a_403_keeps_its_status_and_says_whose_it_is() {
        let expected = json!({
            "message": "the provider refused the request with status 403: no", "type": "provider_error",
            "param": null, "code": "invalid_api_key", "more": 1,
        });
        assert_eq!(seen(403), (403, expected));
    }

    #[test]
    fn f6_other_statuses_stay() {
        for status in [400, 402, 404, 422, 429, 500] {
            let error =
                json!({"message": "no", "type": "t", "param": null, "code": "invalid_api_key", "more": 1});
            assert_eq!(seen(status), (status, error));
        }
    }
}
