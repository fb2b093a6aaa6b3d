//! The error that a request ends with: what a provider answered, what a plugin refused, or what the host
//! could not do. It stays the JSON that the client will get, so that what LLMux does not know passes through.
//!
//! Errors of managing plugins are `plugins::PluginError`; a plugin's own failure is a `pipeline::Failure`
//! until the configuration makes it an error of the request.

use std::{fmt, time::Duration};

use bytes::Bytes;
use serde_json::{Value, json};

use crate::document::Document;

/// Where an error of a request comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// The request is not what the endpoint takes (400, 413).
    InvalidRequest,
    /// No deployment serves the model (404).
    ModelNotFound,
    /// A plugin answered with an error.
    Rejected,
    /// A plugin failed, and the request was to fail with it (500).
    PluginFailure,
    /// The provider answered with an error.
    Provider,
    /// The provider could not be reached (502).
    Connect,
    /// The provider did not answer in time (504).
    Timeout,
    /// The provider's answer made no sense, or broke off (502).
    BadGateway,
    /// The caller went away (499).
    Cancelled,
    /// The pipeline has been shut down (503).
    PipelineClosed,
}

impl ErrorKind {
    /// The kind's name in logs and metrics, and the error's `type` where nobody gives another.
    pub fn as_str(self) -> &'static str {
        match self {
            ErrorKind::InvalidRequest => "invalid_request_error",
            ErrorKind::ModelNotFound => "model_not_found",
            ErrorKind::Rejected => "rejected",
            ErrorKind::PluginFailure => "plugin_failure",
            ErrorKind::Provider => "provider_error",
            ErrorKind::Connect => "connection_error",
            ErrorKind::Timeout => "timeout",
            ErrorKind::BadGateway => "bad_gateway",
            ErrorKind::Cancelled => "cancelled",
            ErrorKind::PipelineClosed => "pipeline_closed",
        }
    }

    /// The HTTP status where nobody gives another.
    pub fn status(self) -> u16 {
        match self {
            ErrorKind::InvalidRequest => 400,
            ErrorKind::ModelNotFound => 404,
            ErrorKind::Rejected | ErrorKind::PluginFailure => 500,
            ErrorKind::Provider | ErrorKind::Connect | ErrorKind::BadGateway => 502,
            ErrorKind::Timeout => 504,
            ErrorKind::Cancelled => 499,
            ErrorKind::PipelineClosed => 503,
        }
    }
}

/// The error of a request. Its document is `{"status", "error": {"message", "type", "param", "code", …}}`,
/// with `"retry_after"` (seconds) where known; post hooks read and edit that document.
#[derive(Clone)]
pub struct Error {
    kind: ErrorKind,
    document: Document,
}

impl Error {
    /// An error of a kind, with the kind's own status and type.
    pub fn new(kind: ErrorKind, message: impl fmt::Display) -> Self {
        Self::with_code(kind, message, None)
    }

    /// The same, with a `code`.
    pub fn with_code(kind: ErrorKind, message: impl fmt::Display, code: Option<&str>) -> Self {
        let kind_name = match kind {
            ErrorKind::ModelNotFound => ErrorKind::InvalidRequest.as_str(),
            other => other.as_str(),
        };
        Self::from_parts(
            kind,
            kind.status(),
            json!({"message": message.to_string(), "type": kind_name, "param": null, "code": code}),
            None,
        )
    }

    /// The request's `model` is served by no provider (404, code `model_not_found`).
    pub fn model_not_found(model: &str) -> Self {
        let message = format_args!("no provider here serves the model `{model}`");
        Self::with_code(ErrorKind::ModelNotFound, message, Some("model_not_found"))
    }

    /// The request's body has more than `limit` bytes (413, code `request_too_large`).
    pub fn request_too_large(limit: usize) -> Self {
        let message = format!("the request body is larger than the limit of {limit} bytes");
        let error = json!({
            "message": message, "type": ErrorKind::InvalidRequest.as_str(), "param": null, "code": "request_too_large",
        });
        Self::from_parts(ErrorKind::InvalidRequest, 413, error, None)
    }

    /// A member of the request's body is missing or has a wrong value (400); `param` names the member.
    pub fn invalid_member(param: &str, message: impl fmt::Display) -> Self {
        let error = json!({
            "message": message.to_string(), "type": ErrorKind::InvalidRequest.as_str(), "param": param, "code": null,
        });
        Self::from_parts(ErrorKind::InvalidRequest, 400, error, None)
    }

    /// The host takes no more requests, because it shuts down (503, code `shutting_down`).
    pub fn shutting_down() -> Self {
        Self::with_code(ErrorKind::PipelineClosed, "this host is shutting down", Some("shutting_down"))
    }

    /// An error whose `error` object is given, as a provider sent it.
    pub fn from_parts(kind: ErrorKind, status: u16, error: Value, retry_after: Option<Duration>) -> Self {
        let mut document = json!({"status": status, "error": error});
        if let Some(retry_after) = retry_after {
            document["retry_after"] = json!(retry_after.as_secs_f64());
        }
        Self { kind, document: Document::from_value(&document) }
    }

    /// An error from the text of an error document, as a plugin gives it.
    ///
    /// # Errors
    ///
    /// Says what is wrong when the text is not JSON, `error` is no object with a `message`, or `status` is not 400 to
    /// 599.
    pub fn from_json(kind: ErrorKind, text: &str) -> Result<Self, String> {
        let (document, [status, message]) = Document::glance(text, [&["status"], &["error", "message"]])
            .map_err(|error| format!("the error: {error}"))?;
        check(status, message)?;
        Ok(Self { kind, document })
    }

    /// Is a document still that of an error, after a plugin has edited it? Says what is wrong with it.
    pub(crate) fn check(document: &Document) -> Result<(), String> {
        check(document.get("/status"), document.get("/error/message"))
    }

    /// An error from a document that has been an error's, or has passed [`check`](Self::check).
    pub(crate) fn of_checked(kind: ErrorKind, document: Document) -> Self {
        Self { kind, document }
    }

    /// Where it comes from.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// The HTTP status, 400 to 599.
    pub fn status(&self) -> u16 {
        self.document
            .get("/status")
            .and_then(|status| status.parse().ok())
            .filter(|status| (400..600).contains(status))
            .unwrap_or(self.kind.status())
    }

    /// What happened, in a sentence for the client.
    pub fn message(&self) -> &str {
        self.document.get_str("/error/message").unwrap_or_default()
    }

    /// The error's `type`.
    pub fn error_type(&self) -> &str {
        self.document.get_str("/error/type").unwrap_or(self.kind.as_str())
    }

    /// The error's `code`.
    pub fn code(&self) -> Option<&str> {
        self.document.get_str("/error/code")
    }

    /// How long the client should wait before it tries again.
    pub fn retry_after(&self) -> Option<Duration> {
        let seconds: f64 = self.document.get("/retry_after")?.parse().ok()?;
        Duration::try_from_secs_f64(seconds).ok()
    }

    /// May another try of the same request succeed (rule F1: connect, timeout, 408, 429, 5xx)?
    pub fn is_retryable(&self) -> bool {
        match self.kind {
            ErrorKind::Connect | ErrorKind::Timeout | ErrorKind::BadGateway => true,
            ErrorKind::Provider => matches!(self.status(), 408 | 429 | 500..=599),
            _ => false,
        }
    }

    /// The body for the client, in the OpenAI shape: `{"error": {…}}`.
    pub fn body(&self) -> Bytes {
        let error = self.document.get("/error").unwrap_or("{}");
        Bytes::from(format!("{{\"error\":{error}}}"))
    }

    /// The error document.
    pub fn document(&self) -> &Document {
        &self.document
    }

    /// The error document, to keep.
    pub(crate) fn into_document(self) -> Document {
        self.document
    }
}

/// Are these the status and the message of an error?
fn check(status: Option<&str>, message: Option<&str>) -> Result<(), String> {
    match status.map(str::parse::<u16>) {
        Some(Ok(400..=599)) => {}
        _ => return Err("an error's status is a number from 400 to 599".into()),
    }
    match message {
        Some(message) if message.starts_with('"') => Ok(()),
        _ => Err("an error document has the member error.message, a string".into()),
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({}): {}", self.error_type(), self.status(), self.message())
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Error").field("kind", &self.kind).field("document", &self.document).finish()
    }
}

impl std::error::Error for Error {}
