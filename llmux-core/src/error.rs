//! The error that a request ends with: from a provider, from a plugin, or from the host. It is kept as the JSON document
//! that the client receives, so that members that LLMux does not know are preserved.
//!
//! Every layer above makes and passes these errors. Deliberately absent: errors of managing plugins, which are
//! `plugins::PluginError`, and a plugin's own failure, which is a `pipeline::Failure` until the configuration makes it an
//! error of the request.

use std::{fmt, sync::Arc, time::Duration};

use bytes::Bytes;
use http::HeaderMap;
use serde_json::{Value, json};

use crate::{document::Document, endpoint::Endpoint, progress::Progress};

/// The origin of a request's error, which decides its default HTTP status.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The endpoint does not accept the request. Status 400, or 413 if the body is too large. Made by the client, before
    /// the first hook or on the way to a provider.
    InvalidRequest,
    /// No deployment serves the model. Status 404. Made by the client, after the pre hooks.
    ModelNotFound,
    /// A plugin answered with an error: in a short circuit, or from a post hook. The plugin chooses the status, 400 to
    /// 599.
    Rejected,
    /// A plugin failed, and the configuration makes its failure the request's error. Status 500. Made by the pipeline.
    PluginFailure,
    /// The provider answered with an error. Status as the provider sent it, 400 to 599; 502 if the error came without
    /// one.
    Provider,
    /// The provider could not be reached. Status 502. Made by the provider.
    Connect,
    /// The provider did not answer in time, or its stream was silent for too long. Status 504. Made by the provider.
    Timeout,
    /// The provider's answer could not be used, or broke off. Status 502. Made by the provider.
    BadGateway,
    /// The caller dropped the request. Status 499. Made by the pipeline for the hooks that run after it.
    Cancelled,
    /// The client has been shut down, the request waited too long while an instance was replaced, or it held instances for
    /// too long after they were retired. Status 503. Made by the client and the pipeline.
    PipelineClosed,
    /// The host, or a provider of the embedder, panicked while it handled the request. Status 500. Made by the pipeline.
    Internal,
}

impl ErrorKind {
    /// The kind's name in logs and metrics. It is also the default of the error's `type`.
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
            ErrorKind::Internal => "internal_error",
        }
    }

    /// The kind's default HTTP status.
    pub fn status(self) -> u16 {
        match self {
            ErrorKind::InvalidRequest => 400,
            ErrorKind::ModelNotFound => 404,
            ErrorKind::Rejected | ErrorKind::PluginFailure | ErrorKind::Internal => 500,
            ErrorKind::Provider | ErrorKind::Connect | ErrorKind::BadGateway => 502,
            ErrorKind::Timeout => 504,
            ErrorKind::Cancelled => 499,
            ErrorKind::PipelineClosed => 503,
        }
    }
}

/// The error of a request.
///
/// Its document is `{"status", "error": {"message", "type", "param", "code", …}}`, with `"retry_after"` (seconds) if
/// known. Post hooks read and edit that document.
///
/// The type is one pointer wide, because results move through every call of the pipeline.
#[derive(Clone)]
pub struct Error(Box<Parts>);

#[derive(Clone)]
struct Parts {
    origin: Origin,
    document: Document,
}

/// The part of an error that hooks cannot change: its kind, the progress of the exchange, and the error that caused it.
#[derive(Clone)]
pub(crate) struct Origin {
    pub(crate) kind: ErrorKind,
    /// The status that the error was made with.
    status: u16,
    progress: Option<Progress>,
    /// The headers of the provider's answer that is this error.
    headers: Option<Arc<HeaderMap>>,
    source: Option<Arc<dyn std::error::Error + Send + Sync>>,
}

impl Origin {
    fn new(kind: ErrorKind, status: u16) -> Self {
        Self { kind, status, progress: None, headers: None, source: None }
    }
}

impl Error {
    /// An error with the kind's own status and type.
    pub fn new(kind: ErrorKind, message: impl fmt::Display) -> Self {
        let kind_name = match kind {
            ErrorKind::ModelNotFound => ErrorKind::InvalidRequest.as_str(),
            other => other.as_str(),
        };
        let error = json!({"message": message.to_string(), "type": kind_name, "param": null, "code": null});
        Self::from_parts(kind, kind.status(), error, None)
    }

    /// The error for a `model` that no provider serves: 404, code `model_not_found`.
    pub fn model_not_found(model: &str) -> Self {
        let message = format_args!("no provider here serves the model `{model}`");
        Self::new(ErrorKind::ModelNotFound, message).with_code("model_not_found")
    }

    /// The error for a request's body of more than `limit` bytes: 413, code `request_too_large`.
    pub fn request_too_large(limit: usize) -> Self {
        let message = format!("the request body is larger than the limit of {limit} bytes");
        let error = json!({
            "message": message, "type": ErrorKind::InvalidRequest.as_str(), "param": null, "code": "request_too_large",
        });
        Self::from_parts(ErrorKind::InvalidRequest, 413, error, None)
    }

    /// The error for a member of the request's body that is missing or invalid: 400. `param` names the member.
    pub fn invalid_member(param: &str, message: impl fmt::Display) -> Self {
        let error = json!({
            "message": message.to_string(), "type": ErrorKind::InvalidRequest.as_str(), "param": param, "code": null,
        });
        Self::from_parts(ErrorKind::InvalidRequest, 400, error, None)
    }

    /// The error for a request after the client has been shut down: 503, code `shutting_down`.
    pub fn shutting_down() -> Self {
        Self::new(ErrorKind::PipelineClosed, "this host is shutting down").with_code("shutting_down")
    }

    /// The error of a request that waited too long while an exclusive instance was replaced (rule D4): 503, code
    /// `plugin_busy`. The client should send it again after a second.
    pub(crate) fn replacing() -> Self {
        let error = json!({
            "message": "a plugin of this host is being replaced; send the request again",
            "type": ErrorKind::PipelineClosed.as_str(), "param": null, "code": "plugin_busy",
        });
        let kind = ErrorKind::PipelineClosed;
        Self::from_parts(kind, kind.status(), error, Some(Duration::from_secs(1)))
    }

    /// The error of a request that streams, on an endpoint that does not.
    pub(crate) fn no_stream(endpoint: Endpoint) -> Self {
        Self::new(ErrorKind::InvalidRequest, format_args!("`{endpoint}` does not stream"))
    }

    /// The error of a request that fails with a plugin. It does not name the plugin (rule E3).
    pub(crate) fn plugin_failure() -> Self {
        Self::new(ErrorKind::PluginFailure, "a plugin failed while it handled this request")
    }

    /// The error of a request in which the host panicked. The log states the reason.
    pub(crate) fn internal() -> Self {
        Self::new(ErrorKind::Internal, "an internal error occurred while this request was handled")
    }

    /// The error of a request whose caller went away.
    pub(crate) fn cancelled() -> Self {
        Self::new(ErrorKind::Cancelled, "the caller went away")
    }

    /// The error of a request that holds instances which were retired `max_drain` ago (rule O2).
    pub(crate) fn retired() -> Self {
        let message = "the plugins of this request were replaced or unloaded too long ago; send it again";
        Self::new(ErrorKind::PipelineClosed, message).with_code("pipeline_replaced")
    }

    /// Sets the error's `code`.
    #[must_use]
    pub fn with_code(mut self, code: &str) -> Self {
        // An `error` that is no object has no place for a code.
        let _ = self.0.document.set("/error/code", &Value::from(code).to_string());
        self
    }

    /// Sets the error that caused this one.
    #[must_use]
    pub fn with_source(mut self, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        self.0.origin.source = Some(Arc::from(source.into()));
        self
    }

    /// Sets the progress of the exchange with the provider.
    #[must_use]
    pub fn with_progress(mut self, progress: Progress) -> Self {
        self.0.origin.progress = Some(progress);
        self
    }

    /// Sets the headers of the provider's answer that is this error (rule F9). Plugins can read them, except credentials.
    #[must_use]
    pub fn with_headers(mut self, headers: HeaderMap) -> Self {
        self.0.origin.headers = Some(Arc::new(headers));
        self
    }

    /// An error with a given `error` object, as a provider sent it.
    pub fn from_parts(kind: ErrorKind, status: u16, error: Value, retry_after: Option<Duration>) -> Self {
        let mut document = json!({"status": status, "error": error});
        if let Some(retry_after) = retry_after {
            document["retry_after"] = json!(retry_after.as_secs_f64());
        }
        Self::join(Origin::new(kind, status), Document::from_value(&document))
    }

    /// Parses an error document, as a plugin returns it.
    ///
    /// # Errors
    ///
    /// A description of the problem, if the text is not JSON, `error` is not an object with a `message`, or `status` is
    /// not a number from 400 to 599.
    pub fn from_json(kind: ErrorKind, text: &str) -> Result<Self, String> {
        let (document, [status, message]) =
            Document::parse_and_find(text, [&["status"], &["error", "message"]])
                .map_err(|error| format!("the error: {error}"))?;
        check(status, message)?;
        let status = status.and_then(|status| status.parse().ok()).unwrap_or(kind.status());
        Ok(Self::join(Origin::new(kind, status), document))
    }

    /// Checks that a document is still an error's, after a plugin has edited it. The error describes the problem.
    pub(crate) fn check(document: &Document) -> Result<(), String> {
        check(document.get("/status"), document.get("/error/message"))
    }

    /// Splits the error into its origin and its document, which hooks may edit.
    pub(crate) fn split(self) -> (Origin, Document) {
        let Parts { origin, document } = *self.0;
        (origin, document)
    }

    /// Joins an origin and a document. The document is an error's, or it has passed [`check`](Self::check).
    pub(crate) fn join(origin: Origin, document: Document) -> Self {
        Self(Box::new(Parts { origin, document }))
    }

    /// The error's origin.
    pub fn kind(&self) -> ErrorKind {
        self.0.origin.kind
    }

    /// The HTTP status, 400 to 599. The kind's own, if a plugin has set another.
    pub fn status(&self) -> u16 {
        self.0
            .document
            .get("/status")
            .and_then(|status| status.parse().ok())
            .filter(|status| (400..600).contains(status))
            .unwrap_or(self.kind().status())
    }

    /// The status that the error was made with: that of the provider's answer, whatever the upstream or a hook has set since.
    pub(crate) fn first_status(&self) -> u16 {
        self.0.origin.status
    }

    /// The error's `message`, for the client.
    pub fn message(&self) -> &str {
        self.0.document.get_str("/error/message").unwrap_or_default()
    }

    /// The error's `type`.
    pub fn error_type(&self) -> &str {
        self.0.document.get_str("/error/type").unwrap_or(self.kind().as_str())
    }

    /// The error's `code`.
    pub fn code(&self) -> Option<&str> {
        self.0.document.get_str("/error/code")
    }

    /// Delay before the client should try again.
    pub fn retry_after(&self) -> Option<Duration> {
        let seconds: f64 = self.0.document.get("/retry_after")?.parse().ok()?;
        Duration::try_from_secs_f64(seconds).ok()
    }

    /// The progress of the exchange with the provider, which decides whether the request may be sent again (rule F1). If
    /// the provider has not set it, a connection error is [`Progress::NotSent`], a timeout is [`Progress::Sent`], an
    /// answer that cannot be used is [`Progress::HeadReceived`], and every other error is [`Progress::Answered`].
    pub fn progress(&self) -> Progress {
        self.0.origin.progress.unwrap_or(match self.kind() {
            ErrorKind::Connect => Progress::NotSent,
            ErrorKind::Timeout => Progress::Sent,
            ErrorKind::BadGateway => Progress::HeadReceived,
            _ => Progress::Answered,
        })
    }

    /// Returns true if the provider has set the progress.
    pub(crate) fn has_progress(&self) -> bool {
        self.0.origin.progress.is_some()
    }

    /// The headers of the provider's answer that is this error.
    pub fn headers(&self) -> Option<&HeaderMap> {
        self.0.origin.headers.as_deref()
    }

    /// The body for the client, in the OpenAI shape: `{"error": {…}}`.
    pub fn body(&self) -> Bytes {
        let error = self.0.document.get("/error").unwrap_or("{}");
        Bytes::from(format!("{{\"error\":{error}}}"))
    }

    /// The error document.
    pub fn document(&self) -> &Document {
        &self.0.document
    }
}

/// Checks the JSON texts of an error's status and message.
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
        f.debug_struct("Error")
            .field("kind", &self.0.origin.kind)
            .field("document", &self.0.document)
            .finish()
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        let source = self.0.origin.source.as_deref()?;
        Some(source)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    /// Frozen: plugins read this document (`ABI.md` of `llmux-abi`). Only new members may be added.
    #[test]
    fn the_error_document_has_these_members_of_these_types() {
        let document = |error: &Error| -> Value {
            serde_json::from_slice(&error.document().to_bytes()).expect("an error document is JSON")
        };
        for kind in [ErrorKind::InvalidRequest, ErrorKind::Provider, ErrorKind::Timeout, ErrorKind::Internal]
        {
            let error = document(&Error::new(kind, "m"));
            assert_eq!((&error["status"], &error["error"]["message"]), (&json!(kind.status()), &json!("m")));
            assert_eq!(error["error"]["type"], kind.as_str());
            let names: Vec<_> = error.as_object().expect("an object").keys().map(String::as_str).collect();
            assert_eq!(names, ["error", "status"]);
            for (name, value) in error["error"].as_object().expect("an object") {
                let is_text = value.is_string() || (value.is_null() && matches!(&**name, "param" | "code"));
                assert!(
                    is_text && matches!(&**name, "message" | "type" | "param" | "code"),
                    "{name}: {value}"
                );
            }
        }
    }
}
