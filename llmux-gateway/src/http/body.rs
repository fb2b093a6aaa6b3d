//! Reader of JSON bodies: checks the type, bounds the size while the body arrives, and times out silent clients.
//!
//! Both listeners call it. A body that arrives in one piece is not copied.

use std::time::Duration;

use axum::body::Body;
use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use http_body_util::BodyExt;
use llmux_core::Error;
use tokio::time::{Instant, timeout_at};

use super::{held_bytes::Held, reply::refusal};

/// Longest time to drain a refused body, so that a client that is still writing receives the response instead of a reset.
const LINGER: Duration = Duration::from_secs(2);
/// Largest number of bytes to drain from a refused body.
const LINGER_BYTES: usize = 64 * 1024 * 1024;

/// Checks that the headers announce a JSON body. If `lenient`, a body without a type counts as JSON.
///
/// # Errors
///
/// 415 if the type is not JSON or the body is encoded.
pub(crate) fn check_type(headers: &HeaderMap, lenient: bool) -> Result<(), Error> {
    let text = |value: &HeaderValue| value.to_str().unwrap_or("?").to_owned();
    let unsupported =
        |what: String| Err(refusal(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported_type", what));
    if !lenient && !headers.contains_key(header::CONTENT_TYPE) {
        return unsupported("the body needs `content-type: application/json`".to_owned());
    }
    for given in headers.get_all(header::CONTENT_TYPE).iter().map(text) {
        let media_type = given.split(';').next().unwrap_or_default().trim();
        if !media_type.eq_ignore_ascii_case("application/json") {
            return unsupported(format!(
                "the body must be JSON, with `content-type: application/json` instead of `{given}`"
            ));
        }
    }
    match headers.get(header::CONTENT_ENCODING).map(text) {
        None => Ok(()),
        Some(encoding) if encoding.eq_ignore_ascii_case("identity") => Ok(()),
        Some(encoding) => {
            unsupported(format!("the encoding `{encoding}` is not supported; send the body without one"))
        }
    }
}

/// Reads the whole body.
///
/// # Errors
///
/// 413 if the body is larger than `limit` bytes, 408 if the client sends nothing for `silence` or less than 1 KiB/s after
/// 30 s, 503 if all requests hold too many bytes, 400 if the body breaks off.
pub(crate) async fn read(
    headers: &HeaderMap,
    mut body: Body,
    limit: usize,
    silence: Duration,
    held: &mut Held,
) -> Result<Bytes, Error> {
    let announced = headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok());
    let announced: usize = announced.unwrap_or(0);
    if announced > limit {
        discard(headers, body).await;
        return Err(Error::request_too_large(limit));
    }
    let mut first = Bytes::new();
    let mut rest = BytesMut::new();
    let begun = Instant::now();
    loop {
        let end = (Instant::now() + silence).min(begun + least_rate(first.len() + rest.len()));
        let frame = timeout_at(end, body.frame()).await.map_err(|_| {
            refusal(
                StatusCode::REQUEST_TIMEOUT,
                "body_timeout",
                "the rest of the body did not arrive in time",
            )
        })?;
        let data = match frame {
            None => break,
            Some(Err(error)) => {
                let message = format!("the body broke off: {error}");
                return Err(refusal(StatusCode::BAD_REQUEST, "broken_body", message));
            }
            Some(Ok(frame)) => frame.into_data().unwrap_or_default(),
        };
        if first.len() + rest.len() + data.len() > limit {
            linger(body).await;
            return Err(Error::request_too_large(limit));
        }
        if let Err(full) = held.add(data.len()) {
            linger(body).await;
            return Err(full);
        }
        match (first.is_empty() && rest.is_empty(), rest.is_empty()) {
            (true, _) => first = data,
            (false, true) => {
                // An announced length is trusted up to a megabyte, because it costs the sender nothing.
                rest.reserve(announced.min(1 << 20).max(first.len() + data.len()));
                rest.extend_from_slice(&std::mem::take(&mut first));
                rest.extend_from_slice(&data);
            }
            (false, false) => rest.extend_from_slice(&data),
        }
    }
    Ok(if rest.is_empty() { first } else { rest.freeze() })
}

/// Returns the time in which this many bytes must have arrived: 30 s, and a second for each KiB.
fn least_rate(bytes: usize) -> Duration {
    Duration::from_secs(30) + Duration::from_millis(bytes as u64 * 1000 / 1024)
}

/// Discards a body that is refused before it is read.
pub(crate) async fn discard(headers: &HeaderMap, body: Body) {
    // A client that sent `expect` waits for permission and has sent no body yet.
    if !headers.contains_key(header::EXPECT) {
        linger(body).await;
    }
}

/// Drains the rest of a body, within the limits of time and size.
async fn linger(mut body: Body) {
    let end = Instant::now() + LINGER;
    let mut taken = 0;
    while let Ok(Some(Ok(frame))) = timeout_at(end, body.frame()).await {
        taken += frame.data_ref().map_or(0, Bytes::len);
        if taken > LINGER_BYTES {
            return;
        }
    }
}
