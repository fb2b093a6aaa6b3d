//! Owned structs of the chat API, for authors who prefer a struct to pointers: `request.parse::<ChatRequest>()`.
//!
//! Members that a struct does not name are kept in `extra`, so parsing a body and writing it again loses nothing.
//! The structs follow OpenAI's API reference ("Create chat completion").

use std::ops::Add;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

/// A chat request.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ChatRequest {
    /// Name of the requested model.
    pub model: String,
    /// The conversation.
    pub messages: Vec<ChatMessage>,
    /// True if the response streams.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stream: Option<bool>,
    /// Sampling temperature, 0 to 2.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub temperature: Option<f64>,
    /// Maximum number of tokens in the response.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_tokens: Option<u64>,
    /// All other members.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

/// A message of a conversation.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ChatMessage {
    /// Role of the author: `system`, `user`, `assistant`, `tool`.
    pub role: String,
    /// Content: a string, a list of parts, or null beside tool calls.
    #[serde(default)]
    pub content: Value,
    /// All other members.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

impl ChatMessage {
    /// Returns a message of plain text.
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
    /// Creation time, in seconds since the Unix epoch.
    #[serde(default)]
    pub created: u64,
    /// The model that answered.
    #[serde(default)]
    pub model: String,
    /// The response's choices.
    pub choices: Vec<ChatChoice>,
    /// The tokens used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usage: Option<Usage>,
    /// All other members.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

/// One choice of a chat response.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ChatChoice {
    /// Position of the choice, from 0.
    #[serde(default)]
    pub index: u64,
    /// The message.
    pub message: ChatMessage,
    /// Reason for the end of the choice: `stop`, `length`, `tool_calls`, `content_filter`.
    #[serde(default)]
    pub finish_reason: Option<String>,
    /// All other members.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

impl ChatResponse {
    /// Returns a complete response with one choice of plain text.
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

    /// Sets the model.
    pub fn with_model(mut self, model: impl Into<String>) -> Self {
        self.model = model.into();
        self
    }

    /// Sets the usage. The total is the sum of both.
    pub fn with_usage(mut self, prompt_tokens: u64, completion_tokens: u64) -> Self {
        self.usage = Some(Usage::new(prompt_tokens, completion_tokens));
        self
    }
}

/// Token counts of a request, as the provider reports them. The responses endpoint names `prompt_tokens` and
/// `completion_tokens` differently: `input_tokens` and `output_tokens`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Usage {
    /// Number of tokens in the prompt.
    #[serde(default, alias = "input_tokens")]
    pub prompt_tokens: u64,
    /// Number of tokens in the response.
    #[serde(default, alias = "output_tokens")]
    pub completion_tokens: u64,
    /// Number of all tokens.
    #[serde(default)]
    pub total_tokens: u64,
    /// True if the host estimated the numbers, or some of them, because a provider reported none. Never part of the JSON.
    #[serde(skip)]
    pub is_estimated: bool,
}

/// Adds two usages. The sum is estimated if one of them is.
impl Add for Usage {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            prompt_tokens: self.prompt_tokens.saturating_add(other.prompt_tokens),
            completion_tokens: self.completion_tokens.saturating_add(other.completion_tokens),
            total_tokens: self.total_tokens.saturating_add(other.total_tokens),
            is_estimated: self.is_estimated || other.is_estimated,
        }
    }
}

impl Usage {
    /// Returns a usage whose total is the sum of both.
    pub fn new(prompt_tokens: u64, completion_tokens: u64) -> Self {
        Self {
            prompt_tokens,
            completion_tokens,
            total_tokens: prompt_tokens.saturating_add(completion_tokens),
            is_estimated: false,
        }
    }
}

/// Returns a chunk of a chat stream that adds text to the first choice.
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
