//! Providers against a real socket: requests, answers, and upstreams that misbehave in every way.
//!
//! These tests run in real time, so delays are short and bounds generous. Tests that need no socket are beside the code.

mod answers;
mod forms;
mod keys;
mod retries;
mod streams;

use futures_util::StreamExt;
use llmux_core::{
    Endpoint, Error,
    document::Document,
    provider::{Call, Events, OpenAi, OpenAiBuilder, Provider},
};
use llmux_testing::{ScriptedResponse, ScriptedServer};

const KEY: &str = "sk-a-very-secret-key";
const OK: &str = r#"{"id":"x","choices":[],"unknown":[1.50,{"z":null,"a":1e2}]}"#;
const CHUNK: &str = "data: {\"choices\":[{\"delta\":{\"content\":\"hi\"},\"finish_reason\":null}]}\n\n";
const DONE: &str = "data: [DONE]\n\n";

fn call(endpoint: Endpoint) -> Call {
    Call::new(endpoint, r#"{"model" : "m","x":1.50}"#, "request-7")
}

fn chat() -> Call {
    call(Endpoint::ChatCompletions)
}

fn builder(upstream: &ScriptedServer) -> OpenAiBuilder {
    OpenAi::builder("here", upstream.base_url()).api_key(KEY)
}

fn provider(upstream: &ScriptedServer) -> OpenAi {
    builder(upstream).build().unwrap()
}

/// Sends a plain request to an upstream with this answer.
async fn send(answer: ScriptedResponse) -> Result<Document, Error> {
    let upstream = ScriptedServer::start([answer]).await;
    provider(&upstream).send(chat()).await.map(|answer| answer.content)
}

/// Streams from an upstream with this answer. Returns the events as `name|data`, and the error at the end as
/// `!kind: message`; or the error if there is no stream.
async fn stream(answer: ScriptedResponse) -> Result<Vec<String>, Error> {
    let upstream = ScriptedServer::start([answer]).await;
    Ok(collect(provider(&upstream).stream(chat()).await?.content).await)
}

async fn collect(mut events: Events) -> Vec<String> {
    let mut collected = Vec::new();
    while let Some(item) = events.next().await {
        collected.push(match item {
            Ok(event) => {
                let data = std::str::from_utf8(&event.data).unwrap();
                format!("{}|{data}", event.name.as_deref().unwrap_or_default())
            }
            Err(error) => format!("!{}: {}", error.kind().as_str(), error.message()),
        });
    }
    collected
}
