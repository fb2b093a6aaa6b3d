//! The form of a body that a provider answered with, whatever its content type says, and the conversions between the two
//! forms of an answer (rule F8).
//!
//! `api` calls it. The conversions themselves are `llmux_abi::convert`'s. Deliberately absent: reading from a connection.

use bytes::Bytes;
use futures_util::{StreamExt, stream};
use llmux_abi::convert::{Assembler, to_chunk_texts};

use crate::{
    Endpoint,
    document::Document,
    error::Error,
    provider::{
        Event, Events,
        failure::{bad_gateway, excerpt},
        secret::Secrets,
    },
};

/// The form of a body, by its first bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// A JSON object or array.
    Json,
    /// Server-sent events.
    Events,
    /// Neither of them.
    Other,
}

/// The names of the fields of an event. A line may also be a comment.
const FIELDS: [&[u8]; 5] = [b"data", b"event", b"id", b"retry", b":"];

/// Returns the form of a body from its beginning. `None` if it has only white space yet.
pub(super) fn form_of(beginning: &[u8]) -> Option<Form> {
    let beginning = visible(beginning);
    Some(match beginning.first()? {
        b'{' | b'[' => Form::Json,
        _ if FIELDS.iter().any(|field| starts(beginning, field)) => Form::Events,
        _ => Form::Other,
    })
}

/// Returns true if a body starts with a field, or is the beginning of one.
fn starts(body: &[u8], field: &[u8]) -> bool {
    let common = body.len().min(field.len());
    let ends = body.get(field.len()).is_none_or(|next| matches!(next, b':' | b'\n' | b'\r'));
    body[..common] == field[..common] && (field == b":" || ends)
}

/// Returns a body without the byte order mark and the white space at its beginning.
pub(super) fn visible(body: &[u8]) -> &[u8] {
    body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(body).trim_ascii_start()
}

/// Joins the events of a stream to the answer that a plain request gets.
pub(super) async fn join(mut events: Events) -> Result<Bytes, Error> {
    let mut assembler = Assembler::new();
    while let Some(event) = events.next().await {
        let event = event?;
        let text = String::from_utf8_lossy(&event.data);
        let irregular = Document::parse_lenient(event.data.clone()).ok();
        let text = irregular.as_ref().and_then(|document| document.get("")).unwrap_or(&text);
        assembler.push_text(text).map_err(|error| {
            bad_gateway(format_args!(
                "the provider answered with a stream, and an event of it is not JSON: {error}"
            ))
        })?;
    }
    let answer = assembler.finish_text().ok_or_else(|| {
        bad_gateway("the provider answered with a stream that ended without a finish reason")
    })?;
    Ok(answer.into())
}

/// Splits an answer to the events that a request for a stream gets.
pub(super) fn split(endpoint: Endpoint, answer: &Document) -> Result<Events, Error> {
    let chunks = to_chunk_texts(answer.get("").unwrap_or("null")).map_err(bad_gateway)?;
    let event = move |chunk: String| match endpoint.ends_with_done() {
        true => Event { name: None, data: chunk.into() },
        false => Event::named(chunk),
    };
    Ok(stream::iter(chunks.into_iter().map(move |chunk| Ok(event(chunk)))).boxed())
}

/// The error of an answer in a form that cannot be used.
pub(super) fn unusable(status: u16, content_type: &str, body: &[u8], why: &str, secrets: &Secrets) -> Error {
    let text = String::from_utf8_lossy(body);
    let said = excerpt(&secrets.redact(&text));
    let of_type = match content_type {
        "" => "no content type".to_owned(),
        other => format!("content type {}", excerpt(other)),
    };
    let said = if said.is_empty() { String::new() } else { format!(": {said}") };
    bad_gateway(format_args!("the provider answered with status {status}, {of_type} and {why}{said}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn f8_both_conversions_keep_every_digit() {
        const DIGITS: &str = "123456789012345678901234567890";
        let choice = r#"{"index":0,"message":{"role":"assistant","content":"hi"},"finish_reason":"stop"}"#;
        let answer = format!(r#"{{"object":"chat.completion","choices":[{choice}],"seed":{DIGITS}}}"#);
        let answer = Document::parse(answer).expect("JSON");
        let events = split(Endpoint::ChatCompletions, &answer).expect("events");
        let joined = join(events).await.expect("an answer");
        assert!(String::from_utf8_lossy(&joined).contains(DIGITS), "{joined:?}");
    }

    #[test]
    fn f8_the_form_of_a_body_is_known_by_its_first_bytes() {
        for (body, form) in [
            ("", None),
            (" \r\n", None),
            ("{", Some(Form::Json)),
            ("\u{feff} {", Some(Form::Json)),
            ("[{", Some(Form::Json)),
            ("data: {", Some(Form::Events)),
            ("\n\ndata:{", Some(Form::Events)),
            ("da", Some(Form::Events)),
            ("event: x", Some(Form::Events)),
            ("id: 1", Some(Form::Events)),
            ("retry: 5", Some(Form::Events)),
            (": alive", Some(Form::Events)),
            ("data\n", Some(Form::Events)),
            ("database is down", Some(Form::Other)),
            ("identity", Some(Form::Other)),
            ("<html>", Some(Form::Other)),
            ("upstream error", Some(Form::Other)),
        ] {
            assert_eq!(form_of(body.as_bytes()), form, "{body:?}");
        }
    }
}
