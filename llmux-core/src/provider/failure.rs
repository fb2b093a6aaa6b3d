//! A provider's failure as the error of a request (rule F3).
//!
//! `openai`, `sse.rs` and `end_of_stream.rs` call it. It keeps the provider's own error, unknown members included,
//! converts the shapes of compatible servers to OpenAI's, and redacts credentials. Deliberately absent: retries.

use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::HeaderMap;
use serde_json::{Map, Value, json};

use super::{connection::Failure, retry_after::retry_after, secret::Secrets};
use crate::{
    document::Document,
    error::{Error, ErrorKind},
    progress::Progress,
};

/// Maximum length of an excerpt of an answer that is not JSON, in characters.
const EXCERPT: usize = 200;

/// Maximum length of the part of such an answer that the excerpt is made from, in characters.
const EXCERPT_OF: usize = 64 * 1024;

/// The error of an answer that cannot be used.
pub(crate) fn bad_gateway(message: impl std::fmt::Display) -> Error {
    Error::new(ErrorKind::BadGateway, message)
}

/// The error of a provider that exceeded a time limit. `failure` completes "the provider …".
pub(crate) fn timed_out(failure: &str, limit: Duration) -> Error {
    Error::new(ErrorKind::Timeout, format_args!("the provider {failure} for {limit:?}"))
}

/// The error of an exchange without a response. `progress` is its progress when it failed.
pub(crate) fn no_response(failure: Failure, progress: Progress, secrets: &Secrets) -> Error {
    let failed = match failure {
        Failure::Dial(error) => {
            let text = match error.certificate_refusal() {
                Some(refusal) => refusal.to_string(),
                None => cause(&error),
            };
            unreachable(&secrets.redact(&text)).with_source(error)
        }
        Failure::Certificate(refusal) => unreachable(&refusal.to_string()).with_source(refusal),
        Failure::Connection(error) => broke_off(error, "the provider did not answer", secrets),
    };
    failed.with_progress(progress)
}

/// The error of a provider that no connection leads to.
fn unreachable(why: &str) -> Error {
    Error::new(ErrorKind::Connect, format_args!("the provider could not be reached: {why}"))
}

/// The error of a connection that broke off. `failure` is the beginning of the message.
pub(crate) fn broke_off(error: hyper::Error, failure: &str, secrets: &Secrets) -> Error {
    let text = cause(&error);
    bad_gateway(format_args!("{failure}: {}", secrets.redact(&text))).with_source(error)
}

/// The innermost cause of an error, which names no URL.
fn cause(error: &(dyn std::error::Error + 'static)) -> String {
    let mut cause = error;
    while let Some(deeper) = cause.source() {
        cause = deeper;
    }
    cause.to_string()
}

/// The error in an answer with a status from 400 to 599.
pub(crate) fn from_reply(status: u16, headers: &HeaderMap, body: &[u8], secrets: &Secrets) -> Error {
    let error = match json(body) {
        Some(body) => error_object(body, status),
        None => {
            let text = String::from_utf8_lossy(body);
            let text = secrets.redact(&text);
            let message = title(&text).unwrap_or_else(|| describe(status, &excerpt(&text)));
            error_object(json!({"message": message}), status)
        }
    };
    let wait = retry_after(headers, SystemTime::now());
    Error::from_parts(ErrorKind::Provider, status, secrets.redact_value(error), wait)
}

/// The value of a text from a provider, with `null` and U+FFFD for what JSON does not allow (rule F8).
pub(crate) fn json(text: &[u8]) -> Option<Value> {
    serde_json::from_slice(text).ok().or_else(|| {
        let document = Document::parse_lenient(Bytes::copy_from_slice(text)).ok()?;
        serde_json::from_str(document.get("")?).ok()
    })
}

/// The error in a body with status 200 or in an event of a stream, if there is one: a member `error` that is not null, or
/// an `object` that is `error` (rule F5). A `response` has an `error` of its own. The status is the number in the error, else
/// 502.
pub(crate) fn from_body(body: Value, secrets: &Secrets) -> Option<Error> {
    let body = match body {
        Value::Array(mut elements) if elements.len() == 1 => elements.remove(0),
        other => other,
    };
    let is_response = body.get("object") == Some(&json!("response"));
    let is_error = !is_response && body.get("error").is_some_and(|error| !error.is_null())
        || body.get("object") == Some(&json!("error"));
    is_error.then(|| from_error(body, secrets))
}

/// The error in a body that is known to be an error, with the status as for [`from_body`].
pub(crate) fn from_error(body: Value, secrets: &Secrets) -> Error {
    let error = error_object(body, ErrorKind::Provider.status());
    let status = ["status", "status_code", "code"]
        .into_iter()
        .filter_map(|name| match error.get(name)? {
            Value::String(text) => text.parse().ok(),
            number => number.as_u64(),
        })
        .find(|status| (400..600).contains(status))
        .map_or(ErrorKind::Provider.status(), |status| status as u16);
    Error::from_parts(ErrorKind::Provider, status, secrets.redact_value(error), None)
}

/// The `error` object in OpenAI's shape, converted from the shapes of compatible servers:
/// `{"error": {…}}`, `[{"error": {…}}]`, `{"error": "…"}`, `{"object": "error", "message": "…"}`, `{"detail": …}`. Its
/// `message` is the provider's sentence, wherever it stands.
fn error_object(body: Value, status: u16) -> Value {
    let body = match body {
        Value::Array(mut elements) if elements.len() == 1 => elements.remove(0),
        other => other,
    };
    let mut members = match body {
        Value::Object(mut members) => match members.remove("error") {
            Some(Value::Object(error)) => error,
            // The string is a code if there is also a sentence.
            Some(Value::String(text)) => {
                let name = if sentence_in(&members).is_some() { "code" } else { "message" };
                members.entry(name).or_insert(text.into());
                members
            }
            Some(other) => {
                members.insert("error".into(), other);
                members
            }
            None => members,
        },
        Value::String(message) => Map::from_iter([("message".into(), message.into())]),
        Value::Null => Map::new(),
        other => Map::from_iter([("detail".into(), other)]),
    };
    if members.get("message").and_then(Value::as_str).is_none_or(str::is_empty) {
        let message = sentence_in(&members).unwrap_or_else(|| describe(status, ""));
        members.insert("message".into(), message.into());
    }
    members.entry("type").or_insert_with(|| ErrorKind::Provider.as_str().into());
    members.entry("param").or_insert(Value::Null);
    members.entry("code").or_insert(Value::Null);
    Value::Object(members)
}

/// The members that hold the sentence of an error in the shapes of compatible servers, the most telling first.
const SENTENCES: [&str; 11] = [
    "message",
    "msg",
    "error_description",
    "detail",
    "details",
    "description",
    "reason",
    "title",
    "error",
    "errors",
    "status",
];

/// The sentence in the members of an error, if there is one.
fn sentence_in(members: &Map<String, Value>) -> Option<String> {
    SENTENCES.iter().find_map(|name| sentence(members.get(*name)?))
}

/// The sentence in a value: a text, that of a member, or those of a list.
fn sentence(value: &Value) -> Option<String> {
    match value {
        Value::String(text) if !text.trim().is_empty() => Some(text.clone()),
        Value::Array(elements) => {
            let sentences: Vec<_> = elements.iter().filter_map(sentence).collect();
            (!sentences.is_empty()).then(|| excerpt(&sentences.join("; ")))
        }
        Value::Object(members) => sentence_in(members),
        _ => None,
    }
}

fn describe(status: u16, text: &str) -> String {
    match text {
        "" => format!("the provider answered with status {status}"),
        text => format!("the provider answered with status {status}: {text}"),
    }
}

/// The title of an HTML page, if the text is one and has a title.
fn title(text: &str) -> Option<String> {
    let page = &text[..text.floor_char_boundary(EXCERPT_OF)];
    if !page.trim_start().starts_with('<') {
        return None;
    }
    // ASCII letters only change their case, so positions are the same in both texts.
    let lower = page.to_ascii_lowercase();
    let tag = lower.find("<title")?;
    let start = tag + lower[tag..].find('>')? + 1;
    let end = start + lower[start..].find("</title")?;
    Some(excerpt(&page[start..end])).filter(|title| !title.is_empty())
}

/// The beginning of a text in one line, without control characters. Tags of an HTML page are removed.
pub(crate) fn excerpt(text: &str) -> String {
    let html = text.trim_start().starts_with('<');
    let mut inside_tag = false;
    let readable: String = text
        .chars()
        .take(EXCERPT_OF)
        .map(|character| {
            let tag = html && (inside_tag || character == '<');
            inside_tag = tag && character != '>';
            if tag || character.is_control() { ' ' } else { character }
        })
        .collect();
    let mut line = readable.split_whitespace().collect::<Vec<_>>().join(" ");
    if let Some((end, _)) = line.char_indices().nth(EXCERPT) {
        line.truncate(end);
        line.push('…');
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The `error` object of a reply.
    fn object(status: u16, body: &str) -> Value {
        let mut secrets = Secrets::default();
        secrets.add("sk-0123456789".into());
        let error = from_reply(status, &HeaderMap::new(), body.as_bytes(), &secrets);
        assert_eq!((error.kind(), error.status()), (ErrorKind::Provider, status));
        serde_json::from_str(error.document().get("/error").unwrap()).unwrap()
    }

    #[test]
    fn every_shape_of_error_becomes_the_one_of_openai() {
        let error = |message: &str| json!({"message": message, "type": "provider_error", "param": null, "code": null});
        let cases = [
            (
                r#"{"error":{"message":"m","type":"t","code":"c","param":"p","hint":{"more":[1]}},"extra":1}"#,
                json!({"message": "m", "type": "t", "code": "c", "param": "p", "hint": {"more": [1]}}),
            ),
            (
                r#"[{"error":{"message":"m","code":400,"status":"INVALID_ARGUMENT"}}]"#,
                json!({"message": "m", "type": "provider_error", "code": 400, "status": "INVALID_ARGUMENT", "param": null}),
            ),
            (r#"{"error":"no such model"}"#, error("no such model")),
            (
                r#"{"object":"error","message":"too long","type":"BadRequestError","code":400}"#,
                json!({"object": "error", "message": "too long", "type": "BadRequestError", "code": 400, "param": null}),
            ),
            (
                r#"{"detail":"Not Found"}"#,
                json!({"detail": "Not Found", "message": "Not Found",
                       "type": "provider_error", "param": null, "code": null}),
            ),
            (r#""plain""#, error("plain")),
            ("null", error("the provider answered with status 500")),
            ("", error("the provider answered with status 500")),
            (
                "<html><head><title>502 Bad\r\nGateway</title></head><hr>nginx\u{0}</html>",
                error("502 Bad Gateway"),
            ),
            (
                r#"{"error":{"message":"bad key sk-0123456789","type":"auth"}}"#,
                json!({"message": "bad key [redacted]", "type": "auth", "param": null, "code": null}),
            ),
            (
                "upstream said sk-0123456789",
                error("the provider answered with status 500: upstream said [redacted]"),
            ),
        ];
        for (body, expected) in cases {
            assert_eq!(object(500, body), expected, "{body}");
        }
    }

    #[test]
    fn f3_the_message_is_the_providers_sentence_wherever_it_stands() {
        for (body, message) in [
            (r#"{"msg":"no"}"#, "no"),
            (r#"{"title":"Bad Request","status":400}"#, "Bad Request"),
            (r#"{"title":"Bad Request","detail":"no such model"}"#, "no such model"),
            (r#"{"error":{"msg":"no"}}"#, "no"),
            (r#"{"error":{"message":"","detail":"no"}}"#, "no"),
            (r#"{"error":["a","b"]}"#, "a; b"),
            (r#"{"errors":[{"message":"a"},{"message":"b"}]}"#, "a; b"),
            (r#"{"detail":[{"loc":["body","n"],"msg":"not a number","type":"int"}]}"#, "not a number"),
            (r#"{"message":{"detail":[{"msg":"no"}]}}"#, "no"),
            (r#"{"error":"invalid_grant","error_description":"expired"}"#, "expired"),
            (r#"{"error":"overloaded","message":"come back"}"#, "come back"),
            (r#"[{"error":{"details":[{"reason":"quota"}]}}]"#, "quota"),
            (r#"{"error":{"code":7}}"#, "the provider answered with status 500"),
            (
                "<!DOCTYPE html><HTML><Title lang=en>\n504 Gateway\nTime-out </Title><p>é</p>",
                "504 Gateway Time-out",
            ),
            ("<html><title></title><h1>Down</h1>", "the provider answered with status 500: Down"),
            ("<html><title>cut", "the provider answered with status 500: cut"),
            ("a <title>b</title>", "the provider answered with status 500: a <title>b</title>"),
        ] {
            assert_eq!(object(500, body)["message"], message, "{body}");
        }
        assert_eq!(object(400, r#"{"error":"invalid_grant","message":"no"}"#)["code"], "invalid_grant");
    }

    #[test]
    fn an_excerpt_is_bounded_in_characters() {
        let text = excerpt(&"é ".repeat(10_000));
        assert_eq!(text.chars().count(), EXCERPT + 1, "{text}");
        assert!(text.ends_with('…'));
    }

    #[test]
    fn an_error_in_a_body_has_the_status_that_it_names() {
        for (body, status) in [
            (json!({"error": {"message": "m", "code": 429}}), Some(429)),
            (json!({"error": {"message": "m", "code": "503"}}), Some(503)),
            (json!({"error": {"message": "m", "code": "server_error"}}), Some(502)),
            (json!({"error": {"message": "m", "code": 200}}), Some(502)),
            (json!({"object": "error", "message": "m", "code": 400}), Some(400)),
            (json!({"error": null}), None),
            (json!({"object": "chat.completion"}), None),
        ] {
            let error = from_body(body.clone(), &Secrets::default());
            assert_eq!(error.map(|error| error.status()), status, "{body}");
        }
    }
}
