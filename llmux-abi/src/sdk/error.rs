//! The error type of the SDK: the reason why a hook failed, or an error for the client.

use std::{borrow::Cow, fmt};

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Result of a hook or of a call to the host.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// An error, in one of two roles. Returned from a hook, it states why the plugin failed; the host logs it and the
/// client never sees it. Passed to [`ShortCircuit::reject`](crate::ShortCircuit::reject),
/// [`Outcome::fail`](crate::Outcome::fail) or [`ChunkFlow::End`](crate::ChunkFlow::End), it is sent to the client, in
/// OpenAI's shape.
///
/// ```
/// # use llmux_abi::prelude::*;
/// let error = Error::rate_limited("slow down").with_code("too_fast").with_retry_after(1.5);
/// assert_eq!((error.status(), error.error_type()), (429, "rate_limit_exceeded"));
/// ```
///
/// With `?`, anything becomes one that becomes a `Box<dyn std::error::Error>`: any `std::error::Error`, an
/// `anyhow::Error`, a text. Its sources are joined by `: `. (For that reason this type is not a `std::error::Error`
/// itself.)
#[derive(Clone, Debug, PartialEq)]
pub struct Error {
    status: u16,
    kind: Cow<'static, str>,
    message: String,
    code: Option<Cow<'static, str>>,
    param: Option<Cow<'static, str>>,
    retry_after: Option<f64>,
}

impl Error {
    /// Returns an error with the status 500 and the type `plugin_error`.
    pub fn new(message: impl fmt::Display) -> Self {
        Self {
            status: 500,
            kind: Cow::Borrowed("plugin_error"),
            message: message.to_string(),
            code: None,
            param: None,
            retry_after: None,
        }
    }

    /// Returns an error with the status 400 and the type `invalid_request_error`.
    pub fn invalid_request(message: impl fmt::Display) -> Self {
        Self::new(message).with_status(400).with_type("invalid_request_error")
    }

    /// Returns an error with the status 401 and the type `authentication_error`.
    pub fn unauthorized(message: impl fmt::Display) -> Self {
        Self::new(message).with_status(401).with_type("authentication_error")
    }

    /// Returns an error with the status 403 and the type `permission_error`.
    pub fn forbidden(message: impl fmt::Display) -> Self {
        Self::new(message).with_status(403).with_type("permission_error")
    }

    /// Returns an error with the status 429 and the type `rate_limit_exceeded`.
    pub fn rate_limited(message: impl fmt::Display) -> Self {
        Self::new(message).with_status(429).with_type("rate_limit_exceeded")
    }

    /// Returns an error with the status 503 and the type `service_unavailable`.
    pub fn unavailable(message: impl fmt::Display) -> Self {
        Self::new(message).with_status(503).with_type("service_unavailable")
    }

    /// Sets the HTTP status, 400 to 599. The host treats any other status as a failure of the plugin.
    pub fn with_status(mut self, status: u16) -> Self {
        self.status = status;
        self
    }

    /// Sets the error's `type`.
    pub fn with_type(mut self, kind: impl Into<Cow<'static, str>>) -> Self {
        self.kind = kind.into();
        self
    }

    /// Sets the error's `code`.
    pub fn with_code(mut self, code: impl Into<Cow<'static, str>>) -> Self {
        self.code = Some(code.into());
        self
    }

    /// The error of a service that this host does not offer.
    pub(crate) fn unsupported(service: &str) -> Self {
        Self::new(format!("this host does not offer {service}")).with_code("unsupported")
    }

    /// Sets the error's `param`: the member of the request that caused the error.
    pub fn with_param(mut self, param: impl Into<Cow<'static, str>>) -> Self {
        self.param = Some(param.into());
        self
    }

    /// Sets the header `retry-after`, in seconds (rounded up for the client).
    pub fn with_retry_after(mut self, seconds: f64) -> Self {
        self.retry_after = Some(seconds);
        self
    }

    /// Returns the message.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// Returns the HTTP status.
    pub fn status(&self) -> u16 {
        self.status
    }

    /// Returns the error's `type`.
    pub fn error_type(&self) -> &str {
        &self.kind
    }

    /// Returns the error's `code`.
    pub fn code(&self) -> Option<&str> {
        self.code.as_deref()
    }

    /// Returns the error's `param`.
    pub fn param(&self) -> Option<&str> {
        self.param.as_deref()
    }

    /// Returns the time that the client is asked to wait, in seconds, as set by
    /// [`with_retry_after`](Self::with_retry_after) or by a provider.
    pub fn retry_after(&self) -> Option<f64> {
        self.retry_after
    }

    /// Returns the error document of the contract, as JSON text.
    pub(crate) fn to_document(&self) -> String {
        // Written without serde: a rate limit refuses at a high rate, and this is a large part of a refusal's cost.
        let mut text = String::with_capacity(160 + self.message.len());
        text.push_str("{\"status\":");
        push_number(&mut text, self.status);
        text.push_str(",\"error\":{\"message\":");
        push_string(&mut text, &self.message);
        text.push_str(",\"type\":");
        push_string(&mut text, &self.kind);
        for (name, value) in [(",\"param\":", &self.param), (",\"code\":", &self.code)] {
            text.push_str(name);
            match value {
                Some(value) => push_string(&mut text, value),
                None => text.push_str("null"),
            }
        }
        text.push('}');
        if let Some(seconds) = self.retry_after {
            text.push_str(",\"retry_after\":");
            push_number(&mut text, seconds);
        }
        text.push('}');
        text
    }

    /// Reads an error document. Members that are missing, or of another type, become empty: a provider can give its errors
    /// any form.
    pub(crate) fn from_document(document: &str) -> Self {
        if let Ok(Usual { status, error, retry_after }) = serde_json::from_str(document) {
            let UsualMembers { kind, message, code, param } = error;
            let [code, param] = [code, param].map(|text| text.map(Cow::Owned));
            return Self { status, kind: kind.into(), message, code, param, retry_after };
        }
        let value: Value = serde_json::from_str(document).unwrap_or_default();
        let text = |name: &str| value["error"][name].as_str().map(|text| Cow::Owned(text.to_owned()));
        Self {
            status: value["status"].as_u64().and_then(|status| status.try_into().ok()).unwrap_or(500),
            kind: text("type").unwrap_or_default(),
            message: text("message").unwrap_or_default().into_owned(),
            code: text("code"),
            param: text("param"),
            retry_after: value["retry_after"].as_f64(),
        }
    }
}

/// An error document of the usual form. It is read three times as fast as one of any form.
#[derive(Deserialize)]
struct Usual {
    status: u16,
    error: UsualMembers,
    retry_after: Option<f64>,
}

#[derive(Deserialize)]
struct UsualMembers {
    #[serde(rename = "type")]
    kind: String,
    message: String,
    code: Option<String>,
    param: Option<String>,
}

/// Appends a number as JSON. A number that JSON cannot express becomes null.
fn push_number(json: &mut String, number: impl Serialize) {
    let mut digits = [0; 32];
    let mut rest = &mut digits[..];
    // No number that callers pass is longer.
    let _ = serde_json::to_writer(&mut rest, &number);
    let unused = rest.len();
    json.push_str(std::str::from_utf8(&digits[..digits.len() - unused]).unwrap_or("null"));
}

/// Appends a text as JSON.
fn push_string(json: &mut String, text: &str) {
    // Most messages need no escape. The check reads every byte, so it compiles to vector instructions.
    let is_special = |byte: u8| (byte < 0x20) | (byte == b'"') | (byte == b'\\');
    if text.bytes().fold(false, |any, byte| any | is_special(byte)) {
        return json.push_str(&Value::from(text).to_string());
    }
    json.push('"');
    json.push_str(text);
    json.push('"');
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl<'e, E: Into<Box<dyn std::error::Error + 'e>>> From<E> for Error {
    fn from(error: E) -> Self {
        let error = error.into();
        let mut message = error.to_string();
        let mut source = error.source();
        while let Some(cause) = source {
            message = format!("{message}: {cause}");
            source = cause.source();
        }
        Self::new(message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_of_other_crates_and_texts_become_one_with_their_sources() {
        fn parsed() -> Result<u8> {
            Ok("x".parse()?)
        }
        fn locked(mutex: &std::sync::Mutex<u8>) -> Result<u8> {
            Ok(*mutex.lock()?)
        }
        fn of_anyhow() -> Result<()> {
            use anyhow::Context;
            Ok("x".parse::<u8>().map(drop).context("the first").context("the second")?)
        }
        fn of_a_text(reason: String) -> Result<()> {
            Err(reason)?
        }
        assert_eq!(
            parsed().map_err(|error| error.to_string()),
            Err("invalid digit found in string".to_owned())
        );
        assert_eq!(locked(&std::sync::Mutex::new(7)), Ok(7));
        let error = of_anyhow().expect_err("it fails");
        assert_eq!(error.message(), "the second: the first: invalid digit found in string");
        assert_eq!((error.status(), error.error_type()), (500, "plugin_error"));
        assert_eq!(of_a_text("why".to_owned()), Err(Error::new("why")));
    }

    #[test]
    fn what_was_set_can_be_read_here_and_behind_the_document() {
        let error = Error::rate_limited("later").with_retry_after(1.5).with_code("slow").with_param("user");
        for error in [Error::from_document(&error.to_document()), error] {
            assert_eq!(error.retry_after(), Some(1.5));
            assert_eq!((error.status(), error.code(), error.param()), (429, Some("slow"), Some("user")));
        }
    }

    #[test]
    fn an_error_document_reads_as_what_was_written() {
        for message in ["", "plain", "\"quoted\" \\ and\nbroken \u{1}", "äöü 🦀"] {
            for retry_after in [None, Some(0.0), Some(1.5), Some(1e-9), Some(1e300)] {
                let mut error = Error::rate_limited(message).with_code("c\"").with_param("p");
                error.retry_after = retry_after;
                assert_eq!(Error::from_document(&error.to_document()), error);
                error = Error { code: None, param: None, ..error };
                assert_eq!(Error::from_document(&error.to_document()), error);
            }
        }
        let timeless = Error::new("x").with_retry_after(f64::NAN).to_document();
        assert_eq!(Error::from_document(&timeless).retry_after, None);
    }

    /// Frozen: see `ABI.md`. Only new members may be added.
    #[test]
    fn the_error_document_has_these_members_of_these_types() {
        let error = Error::rate_limited("m").with_code("c").with_param("p").with_retry_after(1.5);
        let full = r#"{"status":429,"error":{"message":"m","type":"rate_limit_exceeded","param":"p","code":"c"},"retry_after":1.5}"#;
        assert_eq!(error.to_document(), full);
        let bare = r#"{"status":500,"error":{"message":"m","type":"plugin_error","param":null,"code":null}}"#;
        assert_eq!(Error::new("m").to_document(), bare);
    }

    #[test]
    fn members_of_another_type_and_members_given_twice_do_not_hide_the_others() {
        let error = |document: &str| {
            let error = Error::from_document(document);
            (error.status, error.kind.to_string(), error.message, error.code, error.retry_after)
        };
        let text = r#"{"status":429,"status":404,"error":{"message":"m","type":"t","code":42,"type":"u"},"retry_after":"x"}"#;
        assert_eq!(error(text), (404, "u".to_owned(), "m".to_owned(), None, None));
        let of_nothing = (500, String::new(), String::new(), None, None);
        assert_eq!(error("[1]"), of_nothing);
        assert_eq!(
            error(r#"{"error":"text","retry_after":2}"#),
            (500, String::new(), String::new(), None, Some(2.0))
        );
    }
}
