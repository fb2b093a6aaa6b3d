//! The rule that decides which answers are stored: complete successes only.
//!
//! `gather` applies it to plain responses, and to the response that a stream forms. An answer with an unknown shape or an
//! unknown reason of its end is not stored: a repeated question then costs a call, but no client receives a failure again and
//! again.

use serde_json::Value;

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
pub(crate) fn is_complete(endpoint: &str, response: &Value) -> bool {
    // The description of an answer of bytes is no answer.
    if has_error(response) || response["object"] == "binary" {
        return false;
    }
    match endpoint {
        "chat/completions" | "completions" => every(&response["choices"], is_complete_choice),
        "responses" => response["status"] == "completed" && every(&response["output"], is_complete_item),
        "embeddings" => every(&response["data"], |data| !has_error(data)),
        // An endpoint that this version does not know.
        _ => response.as_object().is_some_and(|members| !members.is_empty()),
    }
}

/// Returns true if a response or a chunk states an error, in itself or in one of its choices.
pub(crate) fn has_error(value: &Value) -> bool {
    let states =
        |value: &Value| !value["error"].is_null() || value["object"] == "error" || value["type"] == "error";
    states(value)
        || value["type"] == "response.failed"
        || !value["response"]["error"].is_null()
        || value["choices"].as_array().into_iter().flatten().any(states)
}

/// Returns true for a list that has an element, and only such elements.
fn every(list: &Value, is_complete: impl Fn(&Value) -> bool) -> bool {
    list.as_array().is_some_and(|elements| !elements.is_empty() && elements.iter().all(is_complete))
}

fn is_complete_choice(choice: &Value) -> bool {
    let reason = choice["finish_reason"].as_str().unwrap_or_default();
    let says = |value: &Value| match value {
        Value::Null => false,
        Value::String(text) => !text.is_empty(),
        Value::Array(elements) => !elements.is_empty(),
        Value::Object(members) => !members.is_empty(),
        _ => true,
    };
    let message = choice["message"].as_object().into_iter().flatten();
    let says_something = says(&choice["text"])
        || message.filter(|(name, _)| !LABELS.contains(&name.as_str())).any(|(_, value)| says(value));
    says_something && REASONS.iter().any(|known| known.eq_ignore_ascii_case(reason))
}

/// Returns true for an item of a response that is finished. Not every kind of item has a status.
fn is_complete_item(item: &Value) -> bool {
    item.is_object()
        && matches!(item["status"].as_str(), None | Some("" | "completed"))
        && item["error"].is_null()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

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
