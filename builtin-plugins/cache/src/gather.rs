//! The copy of an answer, collected while the request runs and made an entry when it is over.

use crate::{
    complete,
    entry::{Entry, Events},
    shape::Shape,
};

/// The part of an answer that was copied so far.
#[derive(Default)]
pub(crate) enum Gathered {
    #[default]
    Nothing,
    /// A whole response, as JSON text.
    Response(String),
    Stream(Events),
}

impl Gathered {
    /// Adds an event of a stream. If the events exceed `most` bytes, drops all of them and returns false.
    pub(crate) fn push(&mut self, name: &str, data: &str, most: usize) -> bool {
        if !matches!(self, Gathered::Stream(_)) {
            *self = Gathered::Stream(Events::default());
        }
        let Gathered::Stream(events) = self else { return false };
        if events.size() + name.len() + data.len() > most {
            *self = Gathered::Nothing;
            return false;
        }
        events.push(name, data);
        true
    }

    /// Returns the entry, if the answer may be stored.
    pub(crate) fn into_entry(self, endpoint: &str) -> Option<Entry> {
        match self {
            Gathered::Nothing => None,
            Gathered::Response(response) => {
                let is_complete = complete::is_complete(endpoint, &Shape::of(&response)?);
                is_complete.then_some(Entry::Response(response))
            }
            Gathered::Stream(mut events) => {
                let mut stream = complete::Stream::default();
                for event in events.iter() {
                    // Some providers send an error in the middle of a stream and then end the stream normally.
                    if event.name == "error" || !stream.add(&event.data) {
                        return None;
                    }
                }
                events.shrink();
                stream.is_complete(endpoint).then_some(Entry::Stream(events))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

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
        let response: Value = serde_json::from_str(&entry.response().expect("whole")).expect("JSON");
        assert_eq!(response["choices"][0]["message"]["content"], "hi");
        assert_eq!(entry.events().and_then(|events| events.get(1)).expect("an event").data, MORE);
    }

    #[test]
    fn cut_failed_and_large_streams_are_none() {
        assert_eq!(gathered(&[FIRST, MORE], 1_000), None);
        assert_eq!(gathered(&[FIRST, r#"{"error":{"message":"no"}}"#, LAST], 1_000), None);
        assert_eq!(gathered(&[FIRST, r#"{"\u0065rror":{"message":"no"}}"#, LAST], 1_000), None);
        assert_eq!(gathered(&[FIRST, r#"{"object":"error","message":"no"}"#, LAST], 1_000), None);
        assert_eq!(gathered(&[FIRST, r#"{"object":"\u0065rror","message":"no"}"#, LAST], 1_000), None);
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
        let response = entry.response().expect("whole");
        assert!(response.contains("123456789012345678901234567890"), "{response}");
    }

    /// Returns whether the rule of responses takes the response that these events form.
    fn joined_is_complete(endpoint: &str, events: &[Value]) -> bool {
        let mut all = Events::default();
        events.iter().for_each(|event| all.push("", &event.to_string()));
        Entry::Stream(all).response().is_some_and(|joined| {
            complete::is_complete(endpoint, &Shape::of(&joined).expect("JSON of the assembler"))
        })
    }

    #[test]
    fn the_events_decide_as_the_response_that_they_form() {
        let chunk = |choices: Value| json!({"object": "chat.completion.chunk", "choices": choices});
        let part = |index: u64, delta: Value, reason: Value| json!({"index": index, "delta": delta, "finish_reason": reason});
        let role = || chunk(json!([part(0, json!({"role": "assistant", "content": ""}), Value::Null)]));
        let end = |reason: &str| chunk(json!([part(0, json!({}), json!(reason))]));
        let said = |delta: Value| chunk(json!([part(0, delta, Value::Null)]));
        let call =
            json!({"tool_calls": [{"index": 0, "id": "c", "function": {"name": "f", "arguments": ""}}]});
        let done =
            |item: Value| json!({"type": "response.output_item.done", "output_index": 0, "item": item});
        let last = |kind: &str, response: Value| json!({"type": kind, "response": response});
        let item = json!({"type": "message", "status": "completed"});
        let (chat, responses) = ("chat/completions", "responses");
        for (endpoint, events, stored) in [
            (chat, vec![role(), end("stop")], false),
            (chat, vec![role(), said(json!({"content": "hi"})), end("stop")], true),
            (chat, vec![role(), said(json!({"content": "hi"})), end("content_filter")], false),
            (chat, vec![role(), said(json!({"refusal": "no"})), end("STOP")], true),
            (chat, vec![role(), said(call), end("tool_calls")], true),
            (chat, vec![chunk(json!([{"message": {"content": "hi"}, "finish_reason": "stop"}]))], true),
            (chat, vec![chunk(json!([{"index": 0, "text": "hi", "finish_reason": "stop"}]))], true),
            (chat, vec![chunk(json!([{"index": 0, "text": "hi", "finish_reason": 1}]))], false),
            (chat, vec![said(json!({"content": "hi"})), said(json!("odd")), end("stop"), end("")], true),
            (chat, vec![chunk(json!("odd")), json!("odd"), json!([1])], false),
            (
                responses,
                vec![last("response.completed", json!({"status": "completed", "output": [item]}))],
                true,
            ),
            (
                responses,
                vec![done(item.clone()), last("response.completed", json!({"status": "completed"}))],
                true,
            ),
            (responses, vec![last("response.completed", json!({"status": "completed"}))], false),
            (
                responses,
                vec![last("response.incomplete", json!({"status": "incomplete", "output": [item]}))],
                false,
            ),
            (responses, vec![done(item.clone())], false),
            (responses, vec![said(json!({"content": "hi"})), end("stop")], false),
        ] {
            let mut gathered = Gathered::default();
            for event in &events {
                gathered.push("", &event.to_string(), 1_000);
            }
            assert_eq!(gathered.into_entry(endpoint).is_some(), stored, "{events:?}");
            assert_eq!(joined_is_complete(endpoint, &events), stored, "joined: {events:?}");
        }
    }
}
