//! The host in this process: a client of `llmux-core`, and the results of its requests.

use std::time::Duration;

use http::{HeaderName, HeaderValue};
use llmux_core::{Client, pipeline::Value as Shared};

use crate::{Answer, Ask, answer::Inside, world::Listed};

pub(crate) async fn send(client: &Client, ask: Ask) -> Answer {
    let (stream, request) = (ask.stream, ask.request());
    if !stream {
        let reply = client.send(request).await;
        let mut answer = begun(reply.headers(), reply.attempts(), |name| reply.value(name));
        match reply.result {
            Ok(body) => answer.bodies.push(String::from_utf8_lossy(&body.to_bytes()).into_owned()),
            Err(error) => answer.error = Some(error),
        }
        return answer;
    }
    let reply = client.stream(request).await;
    let mut answer = begun(reply.headers(), reply.attempts(), |name| reply.value(name));
    match reply.result {
        Err(error) => answer.error = Some(error),
        Ok(mut chunks) => {
            while let Some(chunk) = chunks.next().await {
                match chunk {
                    Ok(chunk) => answer.bodies.push(String::from_utf8_lossy(&chunk.data()).into_owned()),
                    Err(error) => answer.error = Some(error),
                }
            }
        }
    }
    answer
}

/// Returns an answer without bodies and error, which follow later.
fn begun(
    headers: &[(HeaderName, HeaderValue)],
    attempts: u32,
    value: impl Fn(&str) -> Option<Shared>,
) -> Answer {
    let is_so = |name| value(name) == Some(Shared::Boolean(true));
    let text = |name| match value(name)? {
        Shared::String(text) => Some(text),
        _ => None,
    };
    let header = |value: &HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    Answer {
        headers: headers.iter().map(|(name, value)| (name.to_string(), header(value))).collect(),
        hit: is_so("cache_hit"),
        limited: is_so("rate_limited"),
        inside: Some(Inside { limit_key: text("limit_key"), cache_key: text("cache_key"), attempts }),
        bodies: Vec::new(),
        error: None,
    }
}

pub(crate) async fn leave(client: &Client, ask: Ask) {
    let (stream, request) = (ask.stream, ask.request());
    if stream {
        let mut chunks = client.stream(request).await.result.expect("a stream");
        chunks.next().await.expect("a chunk").expect("a chunk");
    } else {
        let client = client.clone();
        let sending = tokio::spawn(async move { drop(client.send(request).await) });
        settle().await;
        sending.abort();
    }
}

pub(crate) async fn settle() {
    for _ in 0..64 {
        tokio::task::yield_now().await;
    }
}

pub(crate) fn plugins(client: &Client) -> Vec<Listed> {
    let listed = client.plugins().list().into_iter().map(|plugin| Listed {
        failures: plugin.hooks.iter().map(|hook| hook.failures).sum(),
        priority: plugin.priority.into(),
        name: plugin.name.to_string(),
    });
    listed.collect()
}

pub(crate) async fn end(client: &Client) {
    let report = client.shutdown(Duration::from_secs(1)).await;
    assert!(report.errors.is_empty() && report.drained, "{report:?}");
}
