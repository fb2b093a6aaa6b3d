//! Reads of a request: its model, its last text, and its number of words.
//!
//! `echo.rs` and its other parts call it. It accepts any body: a missing member counts as empty.

use std::borrow::Cow;

use serde_json::Value;

use crate::Endpoint;

/// The request's model; `echo` if it names none.
pub(super) fn model(request: &Value) -> &str {
    request["model"].as_str().unwrap_or("echo")
}

/// The last text of a request: the last user message, the prompt, or the input.
pub(super) fn last_text(endpoint: Endpoint, request: &Value) -> String {
    match endpoint {
        Endpoint::ChatCompletions => last_of_user(&request["messages"]),
        Endpoint::Completions => text(&request["prompt"]).into_owned(),
        Endpoint::Responses => match &request["input"] {
            Value::String(input) => input.clone(),
            items => last_of_user(items),
        },
        // The other endpoints answer without a text.
        _ => String::new(),
    }
}

/// The number of words in a request, reported as its tokens.
pub(super) fn words(endpoint: Endpoint, request: &Value) -> usize {
    match endpoint {
        Endpoint::ChatCompletions => messages(&request["messages"]),
        Endpoint::Completions => count(&text(&request["prompt"])),
        Endpoint::Responses => {
            count(&text(&request["instructions"]))
                + match &request["input"] {
                    Value::String(input) => count(input),
                    items => messages(items),
                }
        }
        _ => inputs(request).iter().map(|input| count(input)).sum(),
    }
}

/// The inputs of an embeddings request. An input of tokens is their JSON text.
pub(super) fn inputs(request: &Value) -> Vec<Cow<'_, str>> {
    match &request["input"] {
        Value::Null => Vec::new(),
        Value::Array(inputs) if !inputs.first().is_some_and(Value::is_number) => {
            inputs.iter().map(input).collect()
        }
        one => vec![input(one)],
    }
}

fn input(value: &Value) -> Cow<'_, str> {
    match value {
        Value::String(text) => Cow::Borrowed(text),
        tokens => Cow::Owned(tokens.to_string()),
    }
}

/// The number of words in a text. White space separates words.
pub(super) fn count(text: &str) -> usize {
    text.split_whitespace().count()
}

fn messages(messages: &Value) -> usize {
    messages.as_array().into_iter().flatten().map(|message| count(&text(&message["content"]))).sum()
}

fn last_of_user(messages: &Value) -> String {
    let messages = messages.as_array().map(Vec::as_slice).unwrap_or_default();
    let last = messages.iter().rfind(|message| message["role"] == "user");
    last.map(|message| text(&message["content"]).into_owned()).unwrap_or_default()
}

/// The text of a message's content: the string, or the texts of its parts, joined.
fn text(content: &Value) -> Cow<'_, str> {
    match content {
        Value::String(text) => Cow::Borrowed(text),
        Value::Array(parts) => {
            parts.iter().filter_map(|part| part.as_str().or(part["text"].as_str())).collect()
        }
        _ => Cow::Borrowed(""),
    }
}
