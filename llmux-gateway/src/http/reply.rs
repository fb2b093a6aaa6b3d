//! Answers of both listeners: JSON, and errors in the OpenAI shape `{"error": {"message", "type", "param", "code"}}`.

use axum::{
    body::Body,
    extract::{FromRequestParts, Path},
    response::Response,
};
use bytes::Bytes;
use http::{HeaderValue, StatusCode, header, request::Parts};
use llmux_core::{Error, ErrorKind};
use serde_json::json;

const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// A response of JSON text, as it is.
pub(crate) fn json_text(status: StatusCode, text: impl Into<Bytes>) -> Response {
    let mut response = Response::new(Body::from(text.into()));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, JSON);
    response
}

/// A response of anything that serde writes.
pub(crate) fn json_value(status: StatusCode, value: &impl serde::Serialize) -> Response {
    match serde_json::to_vec(value) {
        Ok(text) => json_text(status, text),
        Err(error) => refuse(StatusCode::INTERNAL_SERVER_ERROR, "internal_error", error),
    }
}

/// The error of a request.
pub(crate) fn error(error: &Error) -> Response {
    let status = StatusCode::from_u16(error.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = json_text(status, error.body());
    if let Some(wait) = error.retry_after() {
        // Whole seconds, rounded up: a client that comes back early is refused again.
        let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
        response.headers_mut().insert(header::RETRY_AFTER, seconds.into());
    }
    response
}

/// An error of this program's own.
pub(crate) fn refusal(status: StatusCode, code: &str, message: impl std::fmt::Display) -> Error {
    let kind = if status.is_server_error() { "server_error" } else { ErrorKind::InvalidRequest.as_str() };
    let body = json!({"message": message.to_string(), "type": kind, "param": null, "code": code});
    Error::from_parts(ErrorKind::InvalidRequest, status.as_u16(), body, None)
}

/// The answer of such an error.
pub(crate) fn refuse(status: StatusCode, code: &str, message: impl std::fmt::Display) -> Response {
    error(&refusal(status, code, message))
}

/// What both listeners say to a path that they do not have.
pub(crate) async fn unknown_path(request: axum::extract::Request) -> Response {
    let path = request.uri().path();
    refuse(StatusCode::NOT_FOUND, "unknown_path", format!("there is no {} {path} here", request.method()))
}

/// What both listeners say to a method that a path does not take; axum adds `allow`.
pub(crate) async fn wrong_method(request: axum::extract::Request) -> Response {
    let (method, path) = (request.method(), request.uri().path());
    refuse(
        StatusCode::METHOD_NOT_ALLOWED,
        "wrong_method",
        format!("{path} does not take {method}; the header `allow` says what it takes"),
    )
}

/// The name in a path. One that is not text is refused in the same shape as everything.
pub(crate) struct Name(pub(crate) String);

impl<S: Send + Sync> FromRequestParts<S> for Name {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Response> {
        match Path::from_request_parts(parts, state).await {
            Ok(Path(name)) => Ok(Self(name)),
            Err(_) => Err(refuse(StatusCode::NOT_FOUND, "unknown_path", "the name in the path is not UTF-8")),
        }
    }
}
