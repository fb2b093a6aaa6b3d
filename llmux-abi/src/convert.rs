//! Conversions of a response into chunks, and of chunks into a response, for every endpoint that streams.
//!
//! Used by the host (for a response to a streaming request) and by plugins (for a cache that answers both kinds of
//! request from one response). Works on JSON values: unknown members are kept if the stream's format has a place for
//! them. Any JSON is converted somehow: a value of an unexpected kind passes unchanged.

use serde_json::{Map, Value, json};

/// Returns the chunks of a stream equal to a response. Each chunk is an event's data; on the responses endpoint its
/// `type` is also the event's name. The usage, if known, is a separate chunk at the end.
pub fn to_chunks(response: &Value) -> Vec<Value> {
    match response["object"].as_str() {
        Some("response") => response_events(response),
        Some("text_completion") => completion_chunks(response),
        _ => chat_chunks(response),
    }
}

/// The members that every chunk of a stream repeats.
fn head(response: &Value, object: &str) -> Map<String, Value> {
    let mut head = Map::new();
    for (name, value) in response.as_object().into_iter().flatten() {
        if name != "choices" && name != "usage" {
            head.insert(name.clone(), value.clone());
        }
    }
    head.insert("object".to_owned(), object.into());
    head
}

fn chunk(head: &Map<String, Value>, choices: Value) -> Value {
    let mut chunk = head.clone();
    chunk.insert("choices".to_owned(), choices);
    Value::Object(chunk)
}

fn with_usage(mut chunks: Vec<Value>, head: &Map<String, Value>, response: &Value) -> Vec<Value> {
    if !response["usage"].is_null() {
        let mut last = chunk(head, json!([]));
        last["usage"] = response["usage"].clone();
        chunks.push(last);
    }
    chunks
}

fn chat_chunks(response: &Value) -> Vec<Value> {
    let head = head(response, "chat.completion.chunk");
    let mut chunks = Vec::new();
    for choice in response["choices"].as_array().into_iter().flatten() {
        let mut delta = choice["message"].clone();
        let calls = delta.get_mut("tool_calls").and_then(Value::as_array_mut);
        for (at, call) in calls.into_iter().flatten().enumerate() {
            if let Value::Object(call) = call {
                call.insert("index".to_owned(), at.into());
            }
        }
        if let Value::Object(delta) = &mut delta {
            delta.retain(|_, value| !value.is_null());
        }
        let mut first = json!({"index": choice["index"], "delta": delta, "finish_reason": null});
        if !choice["logprobs"].is_null() {
            first["logprobs"] = choice["logprobs"].clone();
        }
        chunks.push(chunk(&head, json!([first])));
        let last = json!({"index": choice["index"], "delta": {}, "finish_reason": choice["finish_reason"]});
        chunks.push(chunk(&head, json!([last])));
    }
    with_usage(chunks, &head, response)
}

fn completion_chunks(response: &Value) -> Vec<Value> {
    let head = head(response, "text_completion");
    let choices = response["choices"].as_array().into_iter().flatten();
    let chunks = choices.map(|choice| chunk(&head, json!([choice]))).collect();
    with_usage(chunks, &head, response)
}

fn response_events(response: &Value) -> Vec<Value> {
    let mut started = response.clone();
    started["status"] = "in_progress".into();
    started["output"] = json!([]);
    if let Value::Object(started) = &mut started {
        started.remove("usage");
    }
    let mut events = vec![json!({"type": "response.created", "response": started})];
    for (at, item) in response["output"].as_array().into_iter().flatten().enumerate() {
        events.push(json!({"type": "response.output_item.added", "output_index": at, "item": item}));
        for (part, content) in item["content"].as_array().into_iter().flatten().enumerate() {
            if let Some(text) = content["text"].as_str() {
                let place = json!({"item_id": item["id"], "output_index": at, "content_index": part});
                let event = |kind: &str, member: &str| {
                    let mut event = place.clone();
                    event["type"] = kind.into();
                    event[member] = text.into();
                    event
                };
                events.push(event("response.output_text.delta", "delta"));
                events.push(event("response.output_text.done", "text"));
            }
        }
        events.push(json!({"type": "response.output_item.done", "output_index": at, "item": item}));
    }
    let last = match response["status"].as_str() {
        Some("incomplete") => "response.incomplete",
        Some("failed") => "response.failed",
        _ => "response.completed",
    };
    events.push(json!({"type": last, "response": response}));
    for (at, event) in events.iter_mut().enumerate() {
        event["sequence_number"] = at.into();
    }
    events
}

/// Assembles the chunks of a stream into the equal response.
#[derive(Clone, Debug, Default)]
pub struct Assembler {
    /// Members that the chunks of the stream repeat, and the usage.
    response: Map<String, Value>,
    choices: Vec<Value>,
    finished: bool,
}

impl Assembler {
    /// Returns an assembler without chunks.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds the next chunk: the event's data.
    pub fn push(&mut self, chunk: &Value) {
        if let Some(kind) = chunk["type"].as_str().filter(|kind| kind.starts_with("response.")) {
            if matches!(kind, "response.completed" | "response.incomplete") {
                self.response = chunk["response"].as_object().cloned().unwrap_or_default();
                self.finished = true;
            }
            return;
        }
        for (name, value) in chunk.as_object().into_iter().flatten() {
            match (name.as_str(), value) {
                ("choices", choices) => {
                    for choice in choices.as_array().into_iter().flatten() {
                        self.push_choice(choice);
                    }
                }
                (_, Value::Null) => {}
                _ => {
                    self.response.insert(name.clone(), value.clone());
                }
            }
        }
    }

    fn push_choice(&mut self, part: &Value) {
        let index = part["index"].as_u64().unwrap_or(0);
        let found = self.choices.iter().position(|choice| choice["index"].as_u64() == Some(index));
        let at = found.unwrap_or_else(|| {
            self.choices.push(json!({"index": index}));
            self.choices.len() - 1
        });
        let choice = &mut self.choices[at];
        for (name, value) in part.as_object().into_iter().flatten() {
            match name.as_str() {
                "index" => {}
                "delta" => append(&mut choice["message"], value),
                "text" => append(&mut choice["text"], value),
                "finish_reason" if !value.is_null() => {
                    self.finished = true;
                    choice[name] = value.clone();
                }
                _ if value.is_null() => {}
                _ => append(&mut choice[name], value),
            }
        }
    }

    /// Returns the response. `None` if the stream has not stated its end (`finish_reason`, or the last event).
    pub fn finish(mut self) -> Option<Value> {
        if !self.finished {
            return None;
        }
        if self.response.get("object").and_then(Value::as_str) == Some("response") {
            return Some(Value::Object(self.response));
        }
        let is_chat = self.response.get("object").and_then(Value::as_str) == Some("chat.completion.chunk");
        if is_chat {
            self.response.insert("object".to_owned(), "chat.completion".into());
        }
        self.choices.sort_by_key(|choice| choice["index"].as_u64());
        for choice in &mut self.choices {
            if is_chat && choice["message"].is_null() {
                choice["message"] = json!({});
            }
            if let Value::Object(message) = &mut choice["message"] {
                message.entry("role").or_insert_with(|| "assistant".into());
                message.entry("content").or_insert(Value::Null);
                for call in message.get_mut("tool_calls").and_then(Value::as_array_mut).into_iter().flatten()
                {
                    if let Value::Object(call) = call {
                        call.remove("index");
                    }
                }
            } else if let Value::Object(choice) = choice {
                choice.remove("message");
            }
            if let Value::Object(choice) = choice {
                choice.entry("finish_reason").or_insert(Value::Null);
            }
        }
        self.response.insert("choices".to_owned(), Value::Array(self.choices));
        Some(Value::Object(self.response))
    }
}

/// Merges a delta into a value. Strings are joined, objects merged, and elements of lists matched by their `index`; all
/// other values are replaced.
fn append(place: &mut Value, delta: &Value) {
    match (&mut *place, delta) {
        (_, Value::Null) => {}
        (Value::String(text), Value::String(more)) => text.push_str(more),
        (Value::Object(members), Value::Object(more)) => {
            for (name, value) in more {
                match members.get_mut(name) {
                    // Sent once, or repeated as a whole.
                    Some(there) if matches!(name.as_str(), "role" | "id" | "type" | "name") => {
                        *there = value.clone();
                    }
                    Some(there) => append(there, value),
                    None => {
                        members.insert(name.clone(), Value::Null);
                        append(&mut members[name], value);
                    }
                }
            }
        }
        (Value::Null, Value::Object(_)) => {
            *place = json!({});
            append(place, delta);
        }
        (Value::Null, Value::Array(_)) => {
            *place = json!([]);
            append(place, delta);
        }
        (Value::Array(elements), Value::Array(more)) => {
            for value in more {
                let index = value.get("index").and_then(Value::as_u64);
                let there = elements
                    .iter_mut()
                    .find(|element| index.is_some() && element.get("index").and_then(Value::as_u64) == index);
                match there {
                    Some(there) => append(there, value),
                    None => elements.push(value.clone()),
                }
            }
        }
        _ => *place = delta.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn assembled(chunks: &[Value]) -> Option<Value> {
        let mut assembler = Assembler::new();
        for chunk in chunks {
            assembler.push(chunk);
        }
        assembler.finish()
    }

    #[test]
    fn a_response_survives_the_way_to_chunks_and_back() {
        let tool_call = json!({"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}});
        let usage = json!({"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3});
        let responses = [
            json!({
                "id": "x", "object": "chat.completion", "created": 1, "model": "m", "system_fingerprint": "fp",
                "choices": [
                    {"index": 0, "message": {"role": "assistant", "content": "hi"}, "finish_reason": "stop"},
                    {"index": 1, "message": {"role": "assistant", "content": null, "tool_calls": [tool_call]},
                     "finish_reason": "tool_calls"},
                ],
                "usage": usage,
            }),
            json!({
                "id": "x", "object": "text_completion", "created": 1, "model": "m",
                "choices": [{"index": 0, "text": "hi", "finish_reason": "stop"}], "usage": usage,
            }),
            json!({
                "id": "r", "object": "response", "status": "completed",
                "output": [{"id": "i", "type": "message", "content": [{"type": "output_text", "text": "hi"}]}],
                "usage": {"input_tokens": 1, "output_tokens": 2, "total_tokens": 3},
            }),
        ];
        for response in responses {
            assert_eq!(assembled(&to_chunks(&response)), Some(response.clone()), "{response}");
        }
    }

    #[test]
    fn deltas_are_joined() {
        let chunk = |delta: Value, reason: Value| json!({"object": "chat.completion.chunk", "choices": [{"index": 0, "delta": delta, "finish_reason": reason}]});
        let call =
            |arguments: &str| json!({"tool_calls": [{"index": 0, "function": {"arguments": arguments}}]});
        let whole = assembled(&[
            chunk(json!({"role": "assistant", "content": "he"}), Value::Null),
            chunk(json!({"content": "llo"}), Value::Null),
            chunk(call("{\"a\""), Value::Null),
            chunk(call(":1}"), Value::Null),
            chunk(json!({}), json!("stop")),
        ]);
        let whole = whole.expect("a finished stream");
        let message = &whole["choices"][0]["message"];
        assert_eq!(message["content"], "hello");
        assert_eq!(message["tool_calls"], json!([{"function": {"arguments": "{\"a\":1}"}}]));
    }

    #[test]
    fn a_stream_that_does_not_say_how_it_ended_is_no_response() {
        let cut = json!({"choices": [{"index": 0, "delta": {"content": "he"}, "finish_reason": null}]});
        assert_eq!(assembled(&[cut]), None);
    }
}
