//! What a request asks: its model, its last words, how many words it has.
//!
//! `echo.rs` calls it. It takes any body and finds no fault: what is not there is empty.

use std::borrow::Cow;

use serde_json::Value;

use crate::Endpoint;

/// The model, `echo` where there is none.
pub(super) fn model(request: &Value) -> &str {
    request["model"].as_str().unwrap_or("echo")
}

/// What a request says last: the last user message, the prompt, the input.
pub(super) fn last_words(endpoint: Endpoint, request: &Value) -> String {
    match endpoint {
        Endpoint::ChatCompletions => last_of_user(&request["messages"]),
        Endpoint::Completions => text(&request["prompt"]).into_owned(),
        Endpoint::Responses => match &request["input"] {
            Value::String(input) => input.clone(),
            items => last_of_user(items),
        },
        Endpoint::Embeddings => String::new(),
    }
}

/// How many words a request has in all, which stands for its tokens.
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
        Endpoint::Embeddings => inputs(request).iter().map(|input| count(input)).sum(),
    }
}

/// The inputs of an embeddings request. Tokens stand for themselves, as JSON.
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

/// Words are what white space separates.
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

/// The text of a content: a string, or the parts that have a `text`, one after the other.
fn text(content: &Value) -> Cow<'_, str> {
    match content {
        Value::String(text) => Cow::Borrowed(text),
        Value::Array(parts) => {
            parts.iter().filter_map(|part| part.as_str().or(part["text"].as_str())).collect()
        }
        _ => Cow::Borrowed(""),
    }
}
