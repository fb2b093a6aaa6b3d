//! The copy of an answer, collected while the request runs and made an entry when it is over.

use llmux_abi::convert::Assembler;

use crate::{
    complete,
    entry::{Entry, Event},
};

/// The part of an answer that was copied so far.
#[derive(Default)]
pub(crate) enum Gathered {
    #[default]
    Nothing,
    /// A whole response, as JSON text.
    Response(String),
    Stream {
        events: Vec<Event>,
        bytes: usize,
    },
}

impl Gathered {
    /// Adds an event of a stream. If the events exceed `most` bytes, drops all of them and returns false.
    pub(crate) fn push(&mut self, name: &str, data: &str, most: usize) -> bool {
        if !matches!(self, Gathered::Stream { .. }) {
            *self = Gathered::Stream { events: Vec::new(), bytes: 0 };
        }
        let Gathered::Stream { events, bytes } = self else { return false };
        *bytes += name.len() + data.len();
        if *bytes > most {
            *self = Gathered::Nothing;
            return false;
        }
        events.push(Event { name: name.to_owned(), data: data.to_owned() });
        true
    }

    /// Returns the entry, if the answer may be stored. The rule reads the response in both cases: the one that arrived, or
    /// the one that the stream forms.
    pub(crate) fn into_entry(self, endpoint: &str) -> Option<Entry> {
        match self {
            Gathered::Nothing => None,
            Gathered::Response(response) => {
                let value = serde_json::from_str(&response).ok()?;
                complete::is_complete(endpoint, &value).then(|| Entry::from_response(response))
            }
            Gathered::Stream { events, .. } => {
                let mut assembler = Assembler::new();
                for event in &events {
                    // Some providers send an error in the middle of a stream and then end the stream normally.
                    if event.name == "error" || tells_error(&event.data)? {
                        return None;
                    }
                    assembler.push_text(&event.data).ok()?;
                }
                // A stream without a finish reason was cut off.
                let response = assembler.finish_text()?;
                let value = serde_json::from_str(&response).ok()?;
                complete::is_complete(endpoint, &value).then(|| Entry::from_stream(response, events))
            }
        }
    }
}

/// Returns true if an event has an error; `None` if it had to be parsed and is no JSON. A name can be written with escapes.
fn tells_error(data: &str) -> Option<bool> {
    if !data.contains("\"error\"") && !data.contains("\\u") {
        return Some(false);
    }
    Some(complete::has_error(&serde_json::from_str(data).ok()?))
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    fn gathered(chunks: &[&str], most: usize) -> Option<Entry> {
        let mut gathered = Gathered::default();
        for chunk in chunks {
            if !gathered.push("", chunk, most) {
                break;
            }
        }
        gathered.into_entry("chat/completions")
    }

    const FIRST: &str = r#"{"object":"chat.completion.chunk","choices":[{"index":0,"delta":{"content":"h"},"finish_reason":null}]}"#;
    const MORE: &str = r#"{"choices":[{"index":0,"delta":{"content":"i"}}]}"#;
    const LAST: &str = r#"{"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}"#;

    #[test]
    fn a_whole_stream_serves_both_kinds() {
        let entry = gathered(&[FIRST, MORE, LAST], 1_000).expect("an entry");
        let response: Value = serde_json::from_str(entry.response()).expect("JSON");
        assert_eq!(response["choices"][0]["message"]["content"], "hi");
        assert_eq!(entry.events().expect("events")[1].data, MORE);
    }

    #[test]
    fn cut_failed_and_large_streams_are_none() {
        assert_eq!(gathered(&[FIRST, MORE], 1_000), None);
        assert_eq!(gathered(&[FIRST, r#"{"error":{"message":"no"}}"#, LAST], 1_000), None);
        assert_eq!(gathered(&[FIRST, r#"{"\u0065rror":{"message":"no"}}"#, LAST], 1_000), None);
        assert_eq!(gathered(&[FIRST, r#"{"object":"error","message":"no"}"#, LAST], 1_000), None);
        assert_eq!(
            gathered(&[FIRST, r#"{"choices":[{"index":0,"delta":{},"error":{}}]}"#, LAST], 1_000),
            None
        );
        assert_eq!(gathered(&[FIRST, "no JSON", LAST], 1_000), None);
        assert_eq!(gathered(&[FIRST, MORE, LAST], 120), None);
        assert_eq!(gathered(&[], 1_000), None);
    }

    #[test]
    fn a_stream_follows_the_rule_of_responses() {
        let last = |reason: &str| {
            format!(r#"{{"choices":[{{"index":0,"delta":{{}},"finish_reason":"{reason}"}}]}}"#)
        };
        for (reason, stored) in [("stop", true), ("length", true), ("", false), ("error", false)] {
            assert_eq!(gathered(&[FIRST, &last(reason)], 1_000).is_some(), stored, "{reason}");
        }
        let second = r#"{"choices":[{"index":1,"delta":{"content":"h"},"finish_reason":null}]}"#;
        assert_eq!(gathered(&[FIRST, second, LAST], 1_000), None, "a partial choice");
        let mut gathered = Gathered::default();
        gathered.push("error", r#"{"message":"no"}"#, 1_000);
        gathered.push("", FIRST, 1_000);
        gathered.push("", LAST, 1_000);
        assert_eq!(gathered.into_entry("chat/completions"), None, "an event that is an error");
    }

    #[test]
    fn numbers_of_a_stream_keep_their_digits() {
        let usage = r#"{"choices":[],"usage":{"total_tokens":123456789012345678901234567890}}"#;
        let entry = gathered(&[FIRST, LAST, usage], 1_000).expect("an entry");
        assert!(entry.response().contains("123456789012345678901234567890"), "{}", entry.response());
    }
}
