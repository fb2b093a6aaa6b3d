//! Providers against a real socket: what is sent, what comes back, and every way in which an upstream misbehaves.
//!
//! Real time runs here, so waits are short and bounds generous. What needs no socket is tested beside its code.

#![cfg(feature = "testing")]

mod answers;
mod streams;

use futures_util::StreamExt;
use llmux_core::{
    Endpoint, Error,
    document::Document,
    provider::{Call, Events, OpenAi, OpenAiBuilder, Provider},
    testing::{Answer, ScriptedUpstream},
};

const KEY: &str = "sk-a-very-secret-key";
const OK: &str = r#"{"id":"x","choices":[],"unknown":[1.50,{"z":null,"a":1e2}]}"#;
const CHUNK: &str = "data: {\"choices\":[{\"delta\":{\"content\":\"hi\"},\"finish_reason\":null}]}\n\n";
const DONE: &str = "data: [DONE]\n\n";

fn call(endpoint: Endpoint) -> Call {
    Call { endpoint, body: r#"{"model" : "m","x":1.50}"#.into(), request_id: "request-7".into() }
}

fn chat() -> Call {
    call(Endpoint::ChatCompletions)
}

fn builder(upstream: &ScriptedUpstream) -> OpenAiBuilder {
    OpenAi::builder("here", upstream.base_url()).api_key(KEY)
}

fn provider(upstream: &ScriptedUpstream) -> OpenAi {
    builder(upstream).build().unwrap()
}

/// What a plain request gets from an upstream with this answer.
async fn send(answer: Answer) -> Result<Document, Error> {
    let upstream = ScriptedUpstream::start([answer]).await;
    provider(&upstream).send(chat()).await
}

/// What a stream from an upstream with this answer tells: its events as `name|data`, and the error at its end as
/// `!kind: message`; or the error in place of a stream.
async fn stream(answer: Answer) -> Result<Vec<String>, Error> {
    let upstream = ScriptedUpstream::start([answer]).await;
    Ok(told(provider(&upstream).stream(chat()).await?).await)
}

async fn told(mut events: Events) -> Vec<String> {
    let mut told = Vec::new();
    while let Some(item) = events.next().await {
        told.push(match item {
            Ok(event) => {
                let data = std::str::from_utf8(&event.data).unwrap();
                format!("{}|{data}", event.name.as_deref().unwrap_or_default())
            }
            Err(error) => format!("!{}: {}", error.kind().as_str(), error.message()),
        });
    }
    told
}
