//! The URL of a stored response.
//!
//! `api` calls it for requests to retrieve, delete or cancel a response.

use http::Uri;
use serde_json::{Value, json};

use super::OpenAi;
use crate::{
    error::{Error, ErrorKind},
    provider::{Call, connection::Target},
};

/// Longest id of a response, in bytes.
const MAX_ID: usize = 256;

impl OpenAi {
    /// Returns the URL of the stored response that a call names in its body; `None` if its endpoint has none. The body may
    /// have a `query` for the provider.
    pub(super) fn stored(&self, call: &Call) -> Result<Option<Target>, Error> {
        if call.endpoint.stored_path("").is_none() {
            return Ok(None);
        }
        let body: Value = serde_json::from_slice(&call.body).unwrap_or_default();
        let id = body["response_id"].as_str().unwrap_or_default();
        let path = call.endpoint.stored_path(id).filter(|_| is_segment(id)).ok_or_else(|| not_found(id))?;
        let mut url = self.base.clone();
        url.set_path(&format!("{}/{path}", url.path().trim_end_matches('/')));
        if let Some(more) = body["query"].as_str().filter(|query| !query.is_empty()) {
            let query = url.query().map(|query| format!("{query}&{more}"));
            url.set_query(Some(query.as_deref().unwrap_or(more)));
        }
        let whole = url.as_str().parse::<Uri>().map_err(|_| not_found(id))?;
        Ok(Some(self.exchange.target(whole)))
    }
}

/// Returns true if an id is one segment of a path, and needs no encoding.
fn is_segment(id: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.:~".contains(&byte);
    (1..=MAX_ID).contains(&id.len()) && id.bytes().all(is_plain) && id.bytes().any(|byte| byte != b'.')
}

fn not_found(id: &str) -> Error {
    let message = format!("Response with id '{id}' not found.");
    let error = json!({"message": message, "type": "invalid_request_error", "param": null, "code": null});
    Error::from_parts(ErrorKind::InvalidRequest, 404, error, None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_one_segment_of_a_path() {
        assert!(is_segment("resp_67ccd2bed1ec8190b14f964abc0542670bb6a6b452d3795b"));
        for wrong in ["", ".", "..", "a/b", "a?b", "a#b", "%2e%2e", "a b", &"x".repeat(257)] {
            assert!(!is_segment(wrong), "{wrong}");
        }
    }
}
