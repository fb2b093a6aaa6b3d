//! The texts that the load and the mock provider exchange: bodies of requests, the completion, the events of a stream, and
//! the check that a response is whole.
//!
//! `upstream` answers with them, `load` sends and checks them. Deliberately absent: HTTP.

use std::time::Duration;

use memchr::memmem;
use rustix::time::{ClockId, clock_gettime};

/// Model of every request.
pub(crate) const MODEL: &str = "gpt-4o-mini";

/// Path of every request.
pub(crate) const PATH: &str = "/v1/chat/completions";

/// Events of a stream before `[DONE]`.
pub(crate) const EVENTS: usize = 20;

/// Pause before each event of a slow stream.
pub(crate) const PAUSE: Duration = Duration::from_millis(20);

/// Bytes at the beginning of a body that say which kind of response the request asks for.
pub(crate) const HEAD_BYTES: usize = 512;

/// Response of the provider to a request that does not stream.
pub(crate) const COMPLETION: &str = concat!(
    r#"{"id":"chatcmpl-bench-00000000000000000001","object":"chat.completion","created":1700000000,"#,
    r#""model":"gpt-4o-mini","system_fingerprint":"fp_bench","choices":[{"index":0,"message":{"role":"assistant","#,
    r#""content":"A benchmark needs an answer of ordinary length, and this is one. It has a few sentences, "#,
    r#"none of them with characters that JSON must escape. Each of them says little, so that its reader can "#,
    r#"stop at any point. The last sentence ends here."},"logprobs":null,"finish_reason":"stop"}],"#,
    r#""usage":{"prompt_tokens":42,"completion_tokens":58,"total_tokens":100,"#,
    r#""prompt_tokens_details":{"cached_tokens":0},"completion_tokens_details":{"reasoning_tokens":0}}}"#
);

const EVENT: &str = concat!(
    r#"data: {"id":"chatcmpl-bench-1","object":"chat.completion.chunk","created":1700000000,"#,
    r#""model":"gpt-4o-mini","choices":[{"index":0,"delta":{"content":"word "},"finish_reason":null}]}"#,
    "\n\n"
);
const LAST_EVENT: &str = concat!(
    r#"data: {"id":"chatcmpl-bench-1","object":"chat.completion.chunk","created":1700000000,"#,
    r#""model":"gpt-4o-mini","choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}"#,
    "\n\n"
);
const DONE: &str = "data: [DONE]\n\n";

const STREAMS: &str = r#""stream":true,"#;
const IS_SLOW: &str = r#""metadata":{"bench":"slow"},"#;

/// Kind of response that a request asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// One completion.
    Plain,
    /// Events without a pause.
    Stream,
    /// Events with a pause before each, which carry the time at which they are sent.
    SlowStream,
}

impl Kind {
    /// Reads the kind from the beginning of a request's body. It looks for text and parses nothing, because the mock must
    /// cost less than the program under test.
    pub(crate) fn of_request(head: &[u8]) -> Self {
        let has = |text: &str| memmem::find(head, text.as_bytes()).is_some();
        match (has(STREAMS), has(IS_SLOW)) {
            (false, _) => Self::Plain,
            (true, false) => Self::Stream,
            (true, true) => Self::SlowStream,
        }
    }

    /// Returns the body of a request, of `bytes` bytes.
    pub(crate) fn request_body(self, bytes: usize) -> String {
        let members = match self {
            Self::Plain => String::new(),
            Self::Stream => STREAMS.to_owned(),
            Self::SlowStream => [STREAMS, IS_SLOW].concat(),
        };
        let begin = format!(
            r#"{{"model":"{MODEL}",{members}"messages":[{{"role":"system","content":"You are a helpful assistant."}},{{"role":"user","content":""#
        );
        let end = r#""}],"temperature":0.7,"max_tokens":256,"user":"bench"}"#;
        let words = "the quick brown fox jumps over the lazy dog ".bytes().cycle();
        let words = words.take(bytes.saturating_sub(begin.len() + end.len())).map(char::from);
        let mut body = String::with_capacity(bytes);
        body.push_str(&begin);
        body.extend(words);
        body.push_str(end);
        body
    }

    /// Returns true if the body of a response has everything that the provider sent.
    pub(crate) fn is_whole(self, body: &[u8]) -> bool {
        let count = |text: &str| memmem::find_iter(body, text).count();
        match self {
            Self::Plain => body.ends_with(b"}") && count(r#""finish_reason":"stop""#) == 1,
            Self::Stream | Self::SlowStream => {
                body.ends_with(DONE.as_bytes()) && count("data: ") == EVENTS + 1
            }
        }
    }
}

/// Returns the event at a place of a stream, from 0. The last place is [`EVENTS`], which has `[DONE]`.
pub(crate) fn event(place: usize) -> &'static str {
    match place {
        ..EVENTS if place + 1 < EVENTS => EVENT,
        ..EVENTS => LAST_EVENT,
        EVENTS.. => DONE,
    }
}

/// Returns the event at a place of a slow stream, with the present time where the event has a text.
pub(crate) fn timed_event(place: usize, nanos: u64) -> String {
    event(place).replace("word ", &nanos.to_string())
}

/// Returns the times that the events in a part of a slow stream carry, in nanoseconds of [`now`].
pub(crate) fn send_times(events: &[u8]) -> impl Iterator<Item = u64> {
    const BEFORE: &str = r#""content":""#;
    memmem::find_iter(events, BEFORE).filter_map(|at| {
        let text = &events[at + BEFORE.len()..];
        let end = memchr::memchr(b'"', text)?;
        std::str::from_utf8(&text[..end]).ok()?.parse().ok()
    })
}

/// Nanoseconds of the clock `CLOCK_MONOTONIC`, which all processes of a machine share.
pub(crate) fn now() -> u64 {
    let time = clock_gettime(ClockId::Monotonic);
    // Both parts are positive on a machine that is up.
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stream(events: usize) -> String {
        (0..events).map(event).collect()
    }

    #[test]
    fn a_request_has_its_size_and_is_json_that_names_its_kind() {
        for kind in [Kind::Plain, Kind::Stream, Kind::SlowStream] {
            let body = kind.request_body(1024);
            assert_eq!(body.len(), 1024);
            let json: serde_json::Value = serde_json::from_str(&body).expect("JSON");
            assert_eq!(json["stream"].as_bool().unwrap_or(false), kind != Kind::Plain);
            assert_eq!(Kind::of_request(&body.as_bytes()[..HEAD_BYTES]), kind);
        }
    }

    #[test]
    fn a_response_with_a_missing_part_is_not_whole() {
        assert!(Kind::Plain.is_whole(COMPLETION.as_bytes()));
        assert!(!Kind::Plain.is_whole(&COMPLETION.as_bytes()[..COMPLETION.len() / 2]));
        assert!(!Kind::Plain.is_whole(b"{}"));
        assert!(Kind::Stream.is_whole(stream(EVENTS + 1).as_bytes()));
        assert!(!Kind::Stream.is_whole(stream(EVENTS).as_bytes()), "without [DONE]");
        assert!(
            !Kind::Stream.is_whole((event(EVENTS).to_owned() + &stream(EVENTS)).as_bytes()),
            "early [DONE]"
        );
        assert!(!Kind::Stream.is_whole(&stream(EVENTS + 1).as_bytes()[event(0).len()..]), "without an event");
    }

    #[test]
    fn events_carry_their_send_times() {
        let part =
            [timed_event(0, 17), timed_event(1, 4_000_000_000_000), timed_event(EVENTS - 1, 5)].concat();
        assert_eq!(send_times(part.as_bytes()).collect::<Vec<_>>(), [17, 4_000_000_000_000]);
        assert_eq!(send_times(stream(EVENTS).as_bytes()).count(), 0, "a text is no time");
    }

    #[test]
    fn every_event_is_json() {
        for place in 0..EVENTS {
            let data = event(place).strip_prefix("data: ").expect("an event");
            let json: serde_json::Value = serde_json::from_str(data).expect("JSON");
            let is_last = json["choices"][0]["finish_reason"] == "stop";
            assert_eq!(is_last, place == EVENTS - 1);
        }
    }
}
