//! Owned structs of the chat API, for authors who prefer a struct to pointers: `request.parse::<ChatRequest>()`.
//!
//! Members that a struct does not name are kept in `extra`, so that parsing and writing again loses nothing.
//! The shapes are those of OpenAI's API reference ("Create chat completion").

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

/// A chat request.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ChatRequest {
    /// The model asked for.
    pub model: String,
    /// The conversation.
    pub messages: Vec<ChatMessage>,
    /// Does the answer stream?
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stream: Option<bool>,
    /// Sampling temperature, 0 to 2.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub temperature: Option<f64>,
    /// The most tokens that the answer may have.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_tokens: Option<u64>,
    /// Everything else.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

/// A message of a conversation.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ChatMessage {
    /// Who says it: `system`, `user`, `assistant`, `tool`.
    pub role: String,
    /// What is said: a string, a list of parts, or null beside tool calls.
    #[serde(default)]
    pub content: Value,
    /// Everything else.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

impl ChatMessage {
    /// A message of plain text.
    pub fn new(role: impl Into<String>, content: impl Into<String>) -> Self {
        Self { role: role.into(), content: Value::String(content.into()), extra: Map::new() }
    }
}

/// A chat response.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ChatResponse {
    /// The response's id.
    #[serde(default)]
    pub id: String,
    /// Always `chat.completion`.
    #[serde(default)]
    pub object: String,
    /// When it was made, in seconds since the Unix epoch.
    #[serde(default)]
    pub created: u64,
    /// The model that answered.
    #[serde(default)]
    pub model: String,
    /// The answers.
    pub choices: Vec<ChatChoice>,
    /// The tokens used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usage: Option<Usage>,
    /// Everything else.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

/// One answer of a chat response.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ChatChoice {
    /// Its place, from 0.
    #[serde(default)]
    pub index: u64,
    /// The message.
    pub message: ChatMessage,
    /// Why it ended: `stop`, `length`, `tool_calls`, `content_filter`.
    #[serde(default)]
    pub finish_reason: Option<String>,
    /// Everything else.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

impl ChatResponse {
    /// A whole response with one answer of plain text.
    pub fn text(content: impl Into<String>) -> Self {
        Self {
            id: "chatcmpl-llmux".to_owned(),
            object: "chat.completion".to_owned(),
            choices: vec![ChatChoice {
                message: ChatMessage::new("assistant", content),
                finish_reason: Some("stop".to_owned()),
                ..ChatChoice::default()
            }],
            ..Self::default()
        }
    }

    /// The same, of this model.
    pub fn with_model(mut self, model: impl Into<String>) -> Self {
        self.model = model.into();
        self
    }

    /// The same, with this usage.
    pub fn with_usage(mut self, prompt_tokens: u64, completion_tokens: u64) -> Self {
        self.usage = Some(Usage::new(prompt_tokens, completion_tokens));
        self
    }
}

/// Tokens used, as the provider counted them: `prompt_tokens` and `completion_tokens`, which the responses
/// endpoint calls `input_tokens` and `output_tokens`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Usage {
    /// Tokens of the prompt.
    #[serde(default, alias = "input_tokens")]
    pub prompt_tokens: u64,
    /// Tokens of the answer.
    #[serde(default, alias = "output_tokens")]
    pub completion_tokens: u64,
    /// All tokens.
    #[serde(default)]
    pub total_tokens: u64,
}

impl Usage {
    /// Returns a usage whose total is the sum of both.
    pub fn new(prompt_tokens: u64, completion_tokens: u64) -> Self {
        Self {
            prompt_tokens,
            completion_tokens,
            total_tokens: prompt_tokens.saturating_add(completion_tokens),
        }
    }
}

/// A chunk of a chat stream that adds text to the first choice.
pub fn text_chunk(content: &str) -> Value {
    json!({
        "id": "chatcmpl-llmux",
        "object": "chat.completion.chunk",
        "created": 0,
        "model": "",
        "choices": [{"index": 0, "delta": {"content": content}, "finish_reason": null}],
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_struct_keeps_what_it_does_not_name() {
        let text = json!({
            "model": "m", "seed": 7,
            "messages": [{"role": "user", "content": [{"type": "text", "text": "hi"}], "name": "ann"}],
        });
        let request: ChatRequest = serde_json::from_value(text.clone()).expect("a chat request");
        assert_eq!(serde_json::to_value(&request).expect("JSON"), text);
    }
}
