//! A response in the shapes of the endpoints, whole and as a stream
//! (<https://platform.openai.com/docs/api-reference>).
//!
//! `echo.rs` calls it. Identifiers and times are constants, so that a response depends on its request alone.

use serde_json::{Value, json};

use super::request::count;

/// The content of a response.
pub(super) struct EchoResponse {
    pub(super) model: String,
    pub(super) text: String,
    /// The number of words in the request.
    pub(super) request_words: usize,
}

impl EchoResponse {
    pub(super) fn chat_completion(&self) -> Value {
        json!({
            "id": "chatcmpl-echo",
            "object": "chat.completion",
            "created": 0,
            "model": self.model,
            "choices": [{
                "index": 0,
                "message": {"role": "assistant", "content": self.text, "refusal": null},
                "logprobs": null,
                "finish_reason": "stop",
            }],
            "usage": self.usage(),
        })
    }

    /// The chunks of `chat/completions`: the role, one for each word, the finish reason, and the usage if requested.
    pub(super) fn chat_chunks(&self, usage: bool) -> Vec<Value> {
        let choice = |delta: Value, finish_reason: Option<&str>| json!([{"index": 0, "delta": delta, "logprobs": null, "finish_reason": finish_reason}]);
        let mut choices = vec![choice(json!({"role": "assistant", "content": ""}), None)];
        choices.extend(pieces(&self.text).map(|piece| choice(json!({"content": piece}), None)));
        choices.push(choice(json!({}), Some("stop")));
        self.chunks("chatcmpl-echo", "chat.completion.chunk", choices, usage)
    }

    pub(super) fn text_completion(&self) -> Value {
        json!({
            "id": "cmpl-echo",
            "object": "text_completion",
            "created": 0,
            "model": self.model,
            "choices": [{"index": 0, "text": self.text, "logprobs": null, "finish_reason": "stop"}],
            "usage": self.usage(),
        })
    }

    /// The chunks of `completions`.
    pub(super) fn text_chunks(&self, usage: bool) -> Vec<Value> {
        let choice = |text: &str, finish_reason: Option<&str>| json!([{"index": 0, "text": text, "logprobs": null, "finish_reason": finish_reason}]);
        let mut choices: Vec<_> = pieces(&self.text).map(|piece| choice(piece, None)).collect();
        choices.push(choice("", Some("stop")));
        self.chunks("cmpl-echo", "text_completion", choices, usage)
    }

    /// A response object: `completed` with its output and usage, or `in_progress` without them.
    pub(super) fn response(&self, status: &str) -> Value {
        let completed = status == "completed";
        json!({
            "id": "resp_echo",
            "object": "response",
            "created_at": 0,
            "status": status,
            "error": null,
            "incomplete_details": null,
            "instructions": null,
            "metadata": {},
            "model": self.model,
            "output": if completed { json!([self.item("completed")]) } else { json!([]) },
            "parallel_tool_calls": true,
            "temperature": null,
            "tool_choice": "auto",
            "tools": [],
            "top_p": null,
            "usage": completed.then(|| json!({
                "input_tokens": self.request_words,
                "input_tokens_details": {"cached_tokens": 0},
                "output_tokens": count(&self.text),
                "output_tokens_details": {"reasoning_tokens": 0},
                "total_tokens": self.request_words + count(&self.text),
            })),
        })
    }

    /// The events of `responses`. Events open and close an item and a part around the text, since OpenAI's SDKs add
    /// deltas only to an open part.
    pub(super) fn response_events(&self) -> Vec<Value> {
        let part = |text: &str| json!({"type": "output_text", "text": text, "annotations": []});
        let at = |kind: &str, member: &str, value: Value| json!({"type": kind, "item_id": "msg_echo", "output_index": 0, "content_index": 0, member: value});
        let whole = |kind: &str, status| json!({"type": kind, "response": self.response(status)});
        let item = |kind: &str, status| json!({"type": kind, "output_index": 0, "item": self.item(status)});

        let mut events = vec![
            whole("response.created", "in_progress"),
            item("response.output_item.added", "in_progress"),
            at("response.content_part.added", "part", part("")),
        ];
        events
            .extend(pieces(&self.text).map(|piece| at("response.output_text.delta", "delta", piece.into())));
        events.extend([
            at("response.output_text.done", "text", self.text.as_str().into()),
            at("response.content_part.done", "part", part(&self.text)),
            item("response.output_item.done", "completed"),
            whole("response.completed", "completed"),
        ]);
        for (number, event) in events.iter_mut().enumerate() {
            event["sequence_number"] = number.into();
        }
        events
    }

    /// The message in a response's output.
    fn item(&self, status: &str) -> Value {
        let content = match status {
            "completed" => json!([{"type": "output_text", "text": self.text, "annotations": []}]),
            _ => json!([]),
        };
        json!({"type": "message", "id": "msg_echo", "status": status, "role": "assistant", "content": content})
    }

    fn chunks(&self, id: &str, object: &str, choices: Vec<Value>, usage: bool) -> Vec<Value> {
        let chunk = |choices: Value| json!({"id": id, "object": object, "created": 0, "model": self.model, "choices": choices});
        let mut chunks: Vec<_> = choices.into_iter().map(chunk).collect();
        if usage {
            // If usage was requested, every other chunk of OpenAI's has `"usage": null`.
            chunks.iter_mut().for_each(|chunk| chunk["usage"] = Value::Null);
            let mut last = chunk(json!([]));
            last["usage"] = self.usage();
            chunks.push(last);
        }
        chunks
    }

    fn usage(&self) -> Value {
        let response_words = count(&self.text);
        json!({
            "prompt_tokens": self.request_words,
            "completion_tokens": response_words,
            "total_tokens": self.request_words + response_words,
        })
    }
}

/// Splits a text into words, each with the white space after it. Joined, they are the text.
fn pieces(mut text: &str) -> impl Iterator<Item = &str> {
    std::iter::from_fn(move || {
        if text.is_empty() {
            return None;
        }
        let word = text.find(|c: char| !c.is_whitespace()).unwrap_or(text.len());
        let gap = text[word..].find(char::is_whitespace).map_or(text.len(), |at| word + at);
        let end = text[gap..].find(|c: char| !c.is_whitespace()).map_or(text.len(), |at| gap + at);
        let (piece, rest) = text.split_at(end);
        text = rest;
        Some(piece)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_are_words_and_lose_nothing() {
        for (text, expected) in [
            ("", &[][..]),
            ("one", &["one"]),
            ("one two", &["one ", "two"]),
            ("  one \n\ttwo  ", &["  one \n\t", "two  "]),
            (" \n ", &[" \n "]),
            ("é\u{3000}漢 字", &["é\u{3000}", "漢 ", "字"]),
        ] {
            let pieces: Vec<_> = pieces(text).collect();
            assert_eq!(pieces, expected, "{text:?}");
            assert_eq!(pieces.concat(), text);
        }
    }
}
