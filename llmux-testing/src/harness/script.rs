//! Turns of a harness: whole chat responses and streams, made for the request that they answer.
//!
//! Tokens are words here. The prompt's tokens are the words of all messages.

use llmux_core::Error;
use serde_json::{Value, json};

use crate::turn::{Asked, Turn};

/// Returns a turn with a chat response of this text.
pub(super) fn text(text: &str) -> Turn {
    let text = text.to_owned();
    Turn::by(move |asked| {
        if asked.stream {
            return Turn::chunks(&chat_chunks(&asked.body, &[&text], true), None);
        }
        let message = json!({"role": "assistant", "content": text});
        Turn::json(&json!({
            "id": "chatcmpl-scripted",
            "object": "chat.completion",
            "created": 0,
            "model": asked.body["model"],
            "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
            "usage": usage(&asked.body, &text),
        }))
    })
}

/// Returns a turn with a chat stream of these texts, one chunk each. With an error, the stream breaks off after them.
pub(super) fn texts(texts: &[&str], cut: Option<Error>) -> Turn {
    let texts: Vec<String> = texts.iter().map(|&text| text.to_owned()).collect();
    Turn::by(move |Asked { body, .. }: &Asked| {
        Turn::chunks(&chat_chunks(body, &texts, cut.is_none()), cut.clone())
    })
}

fn usage(request: &Value, answer: &str) -> Value {
    let words = |text: &str| text.split_whitespace().count();
    let messages = request["messages"].as_array().into_iter().flatten();
    let asked: usize = messages.filter_map(|message| message["content"].as_str()).map(words).sum();
    let answered = words(answer);
    json!({"prompt_tokens": asked, "completion_tokens": answered, "total_tokens": asked + answered})
}

/// Returns one chunk for each text. A stream that ends has two more chunks: the reason of the end, and the usage if
/// it was requested.
fn chat_chunks(request: &Value, texts: &[impl AsRef<str>], ends: bool) -> Vec<Value> {
    let chunk = |choices: Value| {
        json!({
            "id": "chatcmpl-scripted",
            "object": "chat.completion.chunk",
            "created": 0,
            "model": request["model"],
            "choices": choices,
        })
    };
    let choice = |delta: Value, reason: Value| json!([{"index": 0, "delta": delta, "finish_reason": reason}]);
    let content = |text: &str| chunk(choice(json!({"content": text}), Value::Null));
    let mut chunks: Vec<_> = texts.iter().map(|text| content(text.as_ref())).collect();
    if ends {
        chunks.push(chunk(choice(json!({}), "stop".into())));
        if request["stream_options"]["include_usage"] == true {
            let mut last = chunk(json!([]));
            let all: String = texts.iter().map(AsRef::as_ref).collect();
            last["usage"] = usage(request, &all);
            chunks.push(last);
        }
    }
    chunks
}
