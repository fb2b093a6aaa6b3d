//! Answers of bytes, such as audio: bounded in size and silence, and checked for an error in their place.
//!
//! `api` calls it for the endpoints whose answer is not JSON.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_util::{StreamExt, stream};
use http::{HeaderMap, header::CONTENT_TYPE};
use serde_json::Value;
use tokio::time::timeout;

use super::form::visible;
use crate::{
    error::Error,
    progress::Progress,
    provider::{
        binary::{Binary, BinaryBody},
        failure::{self, bad_gateway, timed_out},
        secret::Secrets,
        sse::Input,
    },
};

/// Largest beginning of a text that is searched for an error, in bytes.
const MAX_BEGINNING: usize = 1024 * 1024;

/// The bounds of an answer.
#[derive(Clone, Copy)]
pub(super) struct Bounds {
    /// Largest number of bytes.
    pub(super) limit: usize,
    /// Longest silence.
    pub(super) idle: Duration,
}

/// Makes an answer of the body of a response with status 200. An error in JSON or in the first event is the error of the
/// request (rule F5).
pub(super) async fn binary(
    headers: &HeaderMap,
    mut input: Input,
    announced: Option<u64>,
    bounds: Bounds,
    secrets: &Secrets,
) -> Result<Binary, Error> {
    if announced.is_some_and(|length| length > bounds.limit as u64) {
        return Err(too_large(bounds.limit));
    }
    let content_type = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let content_type = content_type.unwrap_or("application/octet-stream").to_owned();
    let mut beginning = Bytes::new();
    if is_text(&content_type) {
        let is_events = content_type.contains("event-stream");
        beginning = read_beginning(&mut input, is_events).await?;
        if let Some(error) = error_in(&beginning, is_events, secrets) {
            return Err(error);
        }
    }
    let first = (!beginning.is_empty()).then_some(Ok(beginning));
    let body = bounded(stream::iter(first).chain(input).boxed(), bounds);
    Ok(Binary::new(content_type, announced, body))
}

/// Returns true if a content of this type may be an error in place of bytes.
fn is_text(content_type: &str) -> bool {
    let media_type = content_type.split(';').next().unwrap_or_default().trim();
    media_type.starts_with("text/") || media_type.ends_with("json")
}

/// Reads the whole text, or up to the end of the first event, within a bound.
async fn read_beginning(input: &mut Input, is_events: bool) -> Result<Bytes, Error> {
    let mut beginning = BytesMut::new();
    while beginning.len() < MAX_BEGINNING {
        let Some(piece) = input.next().await else { break };
        beginning.extend_from_slice(&piece?);
        let ends = |mark: &[u8]| memchr::memmem::find(&beginning, mark).is_some();
        if is_events && (ends(b"\n\n") || ends(b"\r\n\r\n")) {
            break;
        }
    }
    Ok(beginning.freeze())
}

/// Returns the error that a text is, or that its first event is.
fn error_in(text: &[u8], is_events: bool, secrets: &Secrets) -> Option<Error> {
    let parse = |text: &[u8]| serde_json::from_slice::<Value>(text).ok();
    if !is_events {
        return failure::from_body(parse(visible(text))?, secrets);
    }
    let lines = || text.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii);
    let data = parse(lines().find_map(|line| line.strip_prefix(b"data:"))?)?;
    let is_error = lines().any(|line| line == b"event: error" || line == b"event:error");
    match is_error || data["type"] == "error" {
        true => Some(failure::from_error(data, secrets)),
        false => failure::from_body(data, secrets),
    }
}

/// Bounds the size and the silence of a body.
fn bounded(input: Input, Bounds { limit, idle }: Bounds) -> BinaryBody {
    let next = move |state: Option<(Input, usize)>| async move {
        let (mut input, read) = state?;
        let item = match timeout(idle, input.next()).await {
            Ok(None) => return None,
            Ok(Some(Ok(piece))) if read + piece.len() > limit => Err(too_large(limit)),
            Ok(Some(item)) => item,
            Err(_) => Err(timed_out("sent nothing", idle)),
        };
        let read = read + item.as_ref().map_or(0, Bytes::len);
        let rest = item.is_ok().then_some((input, read));
        Some((item, rest))
    };
    stream::unfold(Some((input, 0)), next).boxed()
}

fn too_large(limit: usize) -> Error {
    let message = format_args!("the provider's response has more than {limit} bytes");
    bad_gateway(message).with_progress(Progress::Answered)
}
