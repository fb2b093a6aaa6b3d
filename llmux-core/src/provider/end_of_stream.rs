//! The end of a stream: recognizes the last event of each endpoint, and an event that is an error.
//!
//! `sse.rs` calls it for every event. Almost every event is forwarded after a search for a few words; only an event that
//! contains such a word is parsed.

use std::sync::Arc;

use llmux_abi::convert::Frames;
use serde_json::Value;

use super::{choices::Choices, failure, secret::Secrets};
use crate::{Endpoint, error::Error};

/// The action to take for an event.
#[derive(Debug)]
pub(crate) enum Verdict {
    /// Forward the event.
    Forward,
    /// Forward the event, which is the last one.
    ForwardLast,
    /// End the stream. The event only marks its end and is not forwarded.
    End,
    /// Fail the stream: the event is an error.
    Fail(Error),
}

/// The names of the events that end a stream of `responses`.
const LAST_EVENTS: [&str; 4] = ["response.completed", "response.failed", "response.incomplete", "error"];

/// Recognizes the end of one stream.
#[derive(Debug)]
pub(crate) struct EndOfStream {
    endpoint: Endpoint,
    secrets: Arc<Secrets>,
    /// The choices of a stream of chunks. If all have ended, the stream may end without a mark.
    choices: Choices,
    frames: Frames,
    /// True once a stream of `responses` had its last event.
    complete: bool,
}

impl EndOfStream {
    /// The state at a stream's beginning. The secrets are removed from errors in the stream.
    pub(crate) fn new(endpoint: Endpoint, secrets: Arc<Secrets>) -> Self {
        Self { endpoint, secrets, choices: Choices::default(), frames: Frames::default(), complete: false }
    }

    /// The error if the upstream closes here without a mark; `None` if the stream is complete.
    pub(crate) fn at_eof(&self) -> Option<Error> {
        (!self.complete && !self.choices.have_ended()).then(broke_off)
    }

    /// Decides about the next event.
    pub(crate) fn judge(&mut self, name: Option<&str>, data: &str) -> Verdict {
        if data.trim_ascii() == "[DONE]" {
            // An endpoint that does not end with `[DONE]` is not complete because of it.
            return match self.at_eof() {
                Some(error) if !self.endpoint.ends_with_done() => Verdict::Fail(error),
                _ => Verdict::End,
            };
        }
        if self.endpoint.ends_with_done() {
            self.judge_chunk(name, data)
        } else {
            self.judge_event(name, data)
        }
    }

    /// An event of `chat/completions` or `completions`: a chunk without a name.
    fn judge_chunk(&mut self, name: Option<&str>, data: &str) -> Verdict {
        if name == Some("error") {
            let body = failure::json(data.as_bytes()).unwrap_or_else(|| failure::excerpt(data).into());
            return Verdict::Fail(failure::from_error(body, &self.secrets));
        }
        if self.frames.read(data.as_bytes()).is_some() {
            // It differs from a chunk that was forwarded in nothing but texts.
            return Verdict::Forward;
        }
        self.choices.read(data.as_bytes());
        // Quotes inside a JSON string are escaped, so a model's text does not match.
        if data.contains("\"error\"")
            && let Some(body) = failure::json(data.as_bytes())
            && let Some(error) = failure::from_body(body, &self.secrets)
        {
            return Verdict::Fail(error);
        }
        Verdict::Forward
    }

    /// An event of `responses`. Some servers send no name, and only the `type` in the data.
    fn judge_event(&mut self, name: Option<&str>, data: &str) -> Verdict {
        let last = match name {
            Some(name) => LAST_EVENTS.contains(&name),
            None if LAST_EVENTS.iter().any(|last| data.contains(last)) => {
                let body = failure::json(data.as_bytes()).unwrap_or_default();
                match body.get("type").and_then(Value::as_str) {
                    Some(kind) => LAST_EVENTS.contains(&kind),
                    None => match failure::from_body(body, &self.secrets) {
                        Some(error) => return Verdict::Fail(error),
                        None => false,
                    },
                }
            }
            None => false,
        };
        self.complete = self.complete || last;
        if last { Verdict::ForwardLast } else { Verdict::Forward }
    }
}

/// The error of an upstream that closed before its stream was complete.
pub(crate) fn broke_off() -> Error {
    failure::bad_gateway("the provider's stream broke off")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_event_gets_its_verdict() {
        use Endpoint::{ChatCompletions, Completions, Responses};
        let cases: &[(Endpoint, Option<&str>, &str, &str)] = &[
            (ChatCompletions, None, r#"{"choices":[{"delta":{"content":"x"}}]}"#, "forward"),
            (ChatCompletions, None, r#"{"choices":[{"delta":{"content":"the \"error\": x"}}]}"#, "forward"),
            (ChatCompletions, None, r#"{"error":null,"choices":[]}"#, "forward"),
            (ChatCompletions, None, r#"{"choices":[{"finish_reason":"error"}]}"#, "forward"),
            (ChatCompletions, None, "not JSON with \"error\"", "forward"),
            (ChatCompletions, None, "[DONE]", "end"),
            (ChatCompletions, None, " [DONE] ", "end"),
            (Completions, None, "[DONE]", "end"),
            (ChatCompletions, None, r#"{"error":{"message":"m","code":429}}"#, "fail 429 m"),
            (ChatCompletions, None, r#"{"id":"x","error":"m","choices":[]}"#, "fail 502 m"),
            (ChatCompletions, None, r#"{"object":"error","message":"m","code":400}"#, "fail 400 m"),
            (ChatCompletions, Some("error"), r#"{"message":"m"}"#, "fail 502 m"),
            (ChatCompletions, Some("error"), "overloaded", "fail 502 overloaded"),
            (Responses, Some("response.created"), r#"{"response":{"error":null}}"#, "forward"),
            (Responses, Some("response.completed"), "{}", "last"),
            (Responses, Some("response.failed"), "{}", "last"),
            (Responses, Some("response.incomplete"), "{}", "last"),
            (Responses, Some("error"), "{}", "last"),
            (Responses, None, r#"{"type":"response.completed"}"#, "last"),
            (Responses, None, r#"{"type":"x","delta":"response.completed"}"#, "forward"),
            (Responses, None, r#"{"type":"error","message":"m"}"#, "last"),
            (Responses, None, r#"{"error":{"message":"m"}}"#, "fail 502 m"),
            (Responses, None, "[DONE]", "fail 502 the provider's stream broke off"),
        ];
        for (endpoint, name, data, expected) in cases {
            let verdict = match EndOfStream::new(*endpoint, Arc::new(Secrets::default())).judge(*name, data) {
                Verdict::Forward => "forward".to_owned(),
                Verdict::ForwardLast => "last".to_owned(),
                Verdict::End => "end".to_owned(),
                Verdict::Fail(error) => format!("fail {} {}", error.status(), error.message()),
            };
            assert_eq!(verdict, *expected, "{endpoint} {name:?} {data}");
        }
    }
}
