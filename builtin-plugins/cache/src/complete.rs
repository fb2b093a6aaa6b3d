//! The rule that decides which answers are stored: complete successes only.
//!
//! `gather` applies it to plain responses, and to the events of a stream, without joining them. An answer with an unknown shape or an
//! unknown reason of its end is not stored: a repeated question then costs a call, but no client receives a failure again and
//! again.

use std::collections::BTreeMap;

use llmux_abi::convert::Frames;

use crate::shape::Shape;

/// Reasons of an end that is no failure and no refusal of the provider, in lower case. The first four are those of OpenAI.
const REASONS: [&str; 13] = [
    "stop",
    "length",
    "tool_calls",
    "function_call",
    "complete",
    "end_turn",
    "eos",
    "eos_token",
    "max_tokens",
    "stop_sequence",
    "stop_token",
    "stop_str",
    "tool_use",
];

/// Members of a message that are not an answer by themselves.
const LABELS: [&str; 2] = ["role", "name"];

/// Returns true if a response is a complete success.
pub(crate) fn is_complete(endpoint: &str, response: &Shape<'_>) -> bool {
    // The description of an answer of bytes is no answer.
    if has_error(response) || is(&response["object"], "binary") {
        return false;
    }
    match endpoint {
        "chat/completions" | "completions" => every(&response["choices"], is_complete_choice),
        "responses" => is(&response["status"], "completed") && every(&response["output"], is_complete_item),
        "embeddings" => every(&response["data"], |data| !has_error(data)),
        // An endpoint that this version does not know.
        _ => !response.members().is_empty(),
    }
}

/// The events of a stream so far.
#[derive(Default)]
pub(crate) struct Stream {
    choices: BTreeMap<u64, Choice>,
    /// Of the finished items of the responses endpoint: whether all of them are complete. `None` before the first.
    items: Option<bool>,
    /// Whether the response in the last event of the responses endpoint is complete. `None` before that event.
    response: Option<bool>,
    frames: Frames,
    /// True if the last event that was parsed has a text in its only choice.
    has_text: bool,
}

/// A choice of a stream.
#[derive(Default)]
struct Choice {
    says_something: bool,
    ends_well: bool,
}

impl Stream {
    /// Adds the data of an event. Returns false if the stream cannot be complete any more.
    pub(crate) fn add(&mut self, data: &str) -> bool {
        // Another text in the place of a text changes nothing.
        if self.frames.read(data.as_bytes()).is_some() && self.has_text {
            return true;
        }
        let Some(event) = Shape::of(data).filter(|event| !has_error(event)) else { return false };
        self.has_text = matches!(event["choices"].elements(), [choice] if says_something(choice));
        match event["type"].as_str().as_deref() {
            Some("response.output_item.done") => {
                self.items = Some(self.items.unwrap_or(true) & is_complete_item(&event["item"]));
            }
            Some("response.completed") => {
                self.response = Some(self.is_complete_response(&event["response"]));
            }
            Some("response.incomplete") => return false,
            _ => {}
        }
        for (part, at) in event["choices"].elements().iter().zip(0..) {
            let index = match part["index"] {
                Shape::Index(index) => index,
                _ => at,
            };
            let choice = self.choices.entry(index).or_default();
            choice.says_something |= says_something(part);
            if let Some(reason) = part["finish_reason"].as_str().filter(|reason| !reason.is_empty()) {
                choice.ends_well = is_known(&reason);
            }
        }
        true
    }

    /// Some servers leave out of the last event what the events before have said.
    fn is_complete_response(&self, response: &Shape<'_>) -> bool {
        match response["output"].elements() {
            [] => is(&response["status"], "completed") && !has_error(response) && self.items == Some(true),
            _ => is_complete("responses", response),
        }
    }

    /// Returns true if the stream is a complete success. A stream without the reason of each end was cut off.
    pub(crate) fn is_complete(&self, endpoint: &str) -> bool {
        match endpoint {
            "responses" => self.response == Some(true),
            _ => {
                let mut choices = self.choices.values();
                !self.choices.is_empty() && choices.all(|choice| choice.says_something && choice.ends_well)
            }
        }
    }
}

/// Returns true if a response or a chunk states an error, in itself or in one of its choices.
pub(crate) fn has_error(value: &Shape<'_>) -> bool {
    let states = |value: &Shape<'_>| {
        value["error"] != Shape::Null || is(&value["object"], "error") || is(&value["type"], "error")
    };
    states(value)
        || is(&value["type"], "response.failed")
        || value["response"]["error"] != Shape::Null
        || value["choices"].elements().iter().any(states)
}

fn is(value: &Shape<'_>, text: &str) -> bool {
    value.as_str().as_deref() == Some(text)
}

/// Returns true for a list that has an element, and only such elements.
fn every(list: &Shape<'_>, is_complete: impl Fn(&Shape<'_>) -> bool) -> bool {
    !list.elements().is_empty() && list.elements().iter().all(is_complete)
}

fn is_complete_choice(choice: &Shape<'_>) -> bool {
    says_something(choice) && choice["finish_reason"].as_str().is_some_and(|reason| is_known(&reason))
}

fn is_known(reason: &str) -> bool {
    REASONS.iter().any(|known| known.eq_ignore_ascii_case(reason))
}

/// Returns true if a choice, or its part in a chunk, is more than labels. Some servers put a whole message into a chunk.
fn says_something(choice: &Shape<'_>) -> bool {
    let mut members = ["message", "delta"].into_iter().flat_map(|message| choice[message].members());
    choice["text"].says_something()
        || members.any(|(name, value)| !LABELS.contains(&name.as_ref()) && value.says_something())
}

/// Returns true for an item of a response that is finished. Not every kind of item has a status.
fn is_complete_item(item: &Shape<'_>) -> bool {
    matches!(item, Shape::Object(_))
        && matches!(item["status"].as_str().as_deref(), None | Some("" | "completed"))
        && item["error"] == Shape::Null
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn is_complete(endpoint: &str, response: &Value) -> bool {
        let response = response.to_string();
        super::is_complete(endpoint, &Shape::of(&response).expect("JSON"))
    }

    fn has_error(event: &Value) -> bool {
        let event = event.to_string();
        super::has_error(&Shape::of(&event).expect("JSON"))
    }

    fn chat(choices: Value) -> Value {
        json!({"object": "chat.completion", "choices": choices})
    }

    fn choice(reason: &str) -> Value {
        json!({"index": 0, "message": {"role": "assistant", "content": "hi"}, "finish_reason": reason})
    }

    /// A choice with another member of this value.
    fn with(name: &str, value: Value) -> Value {
        let mut choice = choice("stop");
        choice[name] = value;
        choice
    }

    #[test]
    fn only_complete_chats_are_stored() {
        let message = |message: Value| chat(json!([with("message", message)]));
        let call = json!([{"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}]);
        let mut error = chat(json!([choice("stop")]));
        error["error"] = json!("quota");
        for (response, stored) in [
            (chat(json!([choice("stop")])), true),
            (chat(json!([choice("length"), choice("STOP")])), true),
            (message(json!({"role": "assistant", "content": null, "tool_calls": call})), true),
            (chat(json!([with("error", Value::Null)])), true),
            (chat(json!([])), false),
            (chat(Value::Null), false),
            (chat(json!([choice("")])), false),
            (chat(json!([with("finish_reason", Value::Null)])), false),
            (chat(json!([choice("stop"), choice("error")])), false),
            (chat(json!([choice("content_filter")])), false),
            (chat(json!([choice("abort")])), false),
            (chat(json!([with("error", json!({"message": "no"}))])), false),
            (chat(json!([with("message", Value::Null)])), false),
            (message(json!({"role": "assistant", "content": "", "tool_calls": []})), false),
            (error, false),
            (json!({"object": "error", "message": "no"}), false),
            (json!({"type": "error", "choices": [choice("stop")]}), false),
            (json!({"detail": "no"}), false),
            (json!("hi"), false),
        ] {
            assert_eq!(is_complete("chat/completions", &response), stored, "{response}");
        }
        let text = json!({"choices": [{"index": 0, "text": "hi", "finish_reason": "stop"}]});
        assert!(is_complete("completions", &text));
    }

    #[test]
    fn only_completed_responses_are_stored() {
        let response = |status: &str, item: &str| json!({"object": "response", "error": null, "status": status, "output": [{"type": "message", "status": item}]});
        for (status, item, stored) in [
            ("completed", "completed", true),
            ("incomplete", "completed", false),
            ("failed", "completed", false),
            ("in_progress", "completed", false),
            ("", "completed", false),
            ("completed", "incomplete", false),
            ("completed", "failed", false),
        ] {
            assert_eq!(is_complete("responses", &response(status, item)), stored, "{status} {item}");
        }
        let output = |output: Value| json!({"object": "response", "status": "completed", "output": output});
        assert!(is_complete("responses", &output(json!([{"type": "reasoning", "summary": []}]))));
        assert!(!is_complete("responses", &output(json!([]))));
        assert!(!is_complete("responses", &output(json!([{"type": "mcp_call", "error": "no"}]))));
        assert!(has_error(&json!({"type": "response.failed", "response": {}})));
        assert!(has_error(&json!({"type": "response.created", "response": {"error": {"message": "no"}}})));
    }

    #[test]
    fn only_embeddings_with_data_are_stored() {
        for (response, stored) in [
            (json!({"data": [{"index": 0, "embedding": [0.5]}]}), true),
            (json!({"data": []}), false),
            (json!({"data": [{"object": "error"}]}), false),
            (json!({}), false),
        ] {
            assert_eq!(is_complete("embeddings", &response), stored, "{response}");
        }
        assert!(is_complete("rerank", &json!({"results": [1]})));
        assert!(!is_complete("rerank", &json!({})));
        let described = json!({"object": "binary", "content_type": "audio/mpeg", "bytes": 3});
        assert!(!is_complete("audio/speech", &described));
    }
}
