//! Responses of both listeners: JSON, and errors in the OpenAI shape `{"error": {"message", "type", "param", "code"}}`.
//!
//! The routes of `api` and `admin` call it. Errors of this program itself are made by [`refusal`] alone; errors of requests
//! come from `llmux-core`.

use std::sync::Arc;

use axum::{
    body::Body,
    extract::{FromRequestParts, Path},
    response::Response,
};
use bytes::Bytes;
use futures_util::TryStreamExt;
use http::{HeaderValue, StatusCode, header, request::Parts};
use llmux_core::{Error, ErrorKind, provider::Binary};
use serde_json::json;

use super::{held_bytes::Held, refusals::Refused};

const JSON: HeaderValue = HeaderValue::from_static("application/json");
const BYTES: HeaderValue = HeaderValue::from_static("application/octet-stream");

/// Returns a response with this JSON text.
pub(crate) fn json_text(status: StatusCode, text: impl Into<Bytes>) -> Response {
    let mut response = Response::new(Body::from(text.into()));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, JSON);
    response
}

/// Returns a response with this value as JSON.
pub(crate) fn json_value(status: StatusCode, value: &impl serde::Serialize) -> Response {
    match serde_json::to_vec(value) {
        Ok(text) => json_text(status, text),
        Err(error) => refuse(StatusCode::INTERNAL_SERVER_ERROR, "internal_error", error),
    }
}

/// Returns an answer of bytes, which are sent as they arrive. If they break off, the connection does, too. `held` is
/// released at their end.
pub(crate) fn binary(binary: Binary, held: Held, request_id: Arc<str>) -> Response {
    let Binary { content_type, length, body, .. } = binary;
    let body = body.inspect_err(move |error| {
        let _held = &held;
        tracing::warn!(request_id = &*request_id, "an answer of bytes broke off: {error}");
    });
    let mut response = Response::new(Body::from_stream(body));
    let headers = response.headers_mut();
    let content_type = HeaderValue::try_from(content_type).unwrap_or(BYTES);
    headers.insert(header::CONTENT_TYPE, content_type);
    if let Some(length) = length {
        headers.insert(header::CONTENT_LENGTH, length.into());
    }
    response
}

/// Returns the response of a request that ended with an error.
pub(crate) fn error(error: &Error) -> Response {
    let status = StatusCode::from_u16(error.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = json_text(status, error.body());
    if let Some(wait) = error.retry_after() {
        // Whole seconds, rounded up, because a client that returns early is refused again.
        let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
        response.headers_mut().insert(header::RETRY_AFTER, seconds.into());
    }
    response
}

/// Returns an error of this program itself.
pub(crate) fn refusal(status: StatusCode, code: &str, message: impl std::fmt::Display) -> Error {
    let kind = if status.is_server_error() { "server_error" } else { ErrorKind::InvalidRequest.as_str() };
    let body = json!({"message": message.to_string(), "type": kind, "param": null, "code": code});
    Error::from_parts(ErrorKind::InvalidRequest, status.as_u16(), body, None)
}

/// Returns the response of an error of this program itself.
pub(crate) fn refuse(status: StatusCode, code: &str, message: impl std::fmt::Display) -> Response {
    refused(&refusal(status, code, message))
}

/// Returns the response of an error with which a listener refuses a request. It is marked for the counts of refusals.
pub(crate) fn refused(refusal: &Error) -> Response {
    let mut response = error(refusal);
    response.extensions_mut().insert(Refused(refusal.code().unwrap_or("other").into()));
    response
}

/// The name in a path. A name that is not UTF-8 is refused with an error in the usual shape.
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
