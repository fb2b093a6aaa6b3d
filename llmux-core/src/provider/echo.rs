//! A provider that answers offline, deterministically and at once, so that everything can be tried without a key.
//!
//! The program uses it when nothing is configured, tests use it throughout. The model's name says what it does:
//!
//! | model | answer |
//! |---|---|
//! | `echo-request` | the JSON body that would have gone upstream, as text |
//! | `echo-error-NNN` | an error with that status, 400 to 599; 429 asks to wait for a second |
//! | `echo`, and any other | the last user message; a prompt; the input |
//!
//! It is no model of any provider's checks: it takes every body that is a JSON object.

use std::{sync::Arc, time::Duration};

use futures_util::{Stream, StreamExt, future::BoxFuture, stream};
use serde_json::{Value, json};

use super::{Call, Event, Events, Provider, ProviderSettings};
use crate::{
    Endpoint,
    document::Document,
    error::{Error, ErrorKind},
};

mod answer;
mod embedding;
mod question;

use answer::Answer;

/// The provider that repeats what it is asked.
#[derive(Clone, Copy, Debug, Default)]
pub struct Echo {
    chunk_delay: Duration,
}

impl Echo {
    /// One that answers at once.
    pub fn new() -> Self {
        Self::default()
    }

    /// How long to wait before each chunk of a stream, so that streams can be watched. Default: not at all.
    #[must_use]
    pub fn chunk_delay(mut self, delay: Duration) -> Self {
        self.chunk_delay = delay;
        self
    }
}

impl Provider for Echo {
    fn send(&self, call: Call) -> BoxFuture<'_, Result<Document, Error>> {
        Box::pin(async move {
            let request = parse(&call)?;
            let document = match call.endpoint {
                Endpoint::Embeddings => embedding::list(&request),
                Endpoint::ChatCompletions => answer(&call, &request).chat_completion(),
                Endpoint::Completions => answer(&call, &request).text_completion(),
                Endpoint::Responses => answer(&call, &request).response("completed"),
            };
            Ok(Document::from_value(&document))
        })
    }

    fn stream(&self, call: Call) -> BoxFuture<'_, Result<Events, Error>> {
        Box::pin(async move {
            let request = parse(&call)?;
            let answer = answer(&call, &request);
            let usage = request.pointer("/stream_options/include_usage") == Some(&Value::Bool(true));
            let events = match call.endpoint {
                Endpoint::Embeddings => {
                    return Err(Error::new(ErrorKind::InvalidRequest, "embeddings do not stream"));
                }
                Endpoint::ChatCompletions => chunks(answer.chat_chunks(usage)),
                Endpoint::Completions => chunks(answer.text_chunks(usage)),
                Endpoint::Responses => answer.response_events().into_iter().map(named).collect(),
            };
            Ok(paced(events, self.chunk_delay))
        })
    }
}

/// How a configuration makes one.
pub(super) fn from_settings(settings: &ProviderSettings) -> Result<Arc<dyn Provider>, String> {
    Ok(Arc::new(Echo::new().chunk_delay(settings.chunk_delay.unwrap_or_default())))
}

/// The request, or the error that its model asks for.
fn parse(call: &Call) -> Result<Value, Error> {
    let refuse = |why: &str| Error::new(ErrorKind::InvalidRequest, format_args!("the request's body {why}"));
    let request: Value =
        serde_json::from_slice(&call.body).map_err(|error| refuse(&format!("is not JSON: {error}")))?;
    if !request.is_object() {
        return Err(refuse("is not a JSON object"));
    }
    match asked_error(question::model(&request)) {
        Some(error) => Err(error),
        None => Ok(request),
    }
}

/// What `echo-error-NNN` fails with.
fn asked_error(model: &str) -> Option<Error> {
    let digits = model.strip_prefix("echo-error-")?;
    let status = digits.parse().ok().filter(|status| digits.len() == 3 && (400..600).contains(status))?;
    let (kind, code, wait) = match status {
        429 => ("rate_limit_exceeded", json!("rate_limit_exceeded"), Some(Duration::from_secs(1))),
        _ => ("echo_error", Value::Null, None),
    };
    let message = format!("this is the error with status {status} that the model `{model}` stands for");
    let error = json!({"message": message, "type": kind, "param": null, "code": code});
    Some(Error::from_parts(ErrorKind::Provider, status, error, wait))
}

fn answer(call: &Call, request: &Value) -> Answer {
    let model = question::model(request).to_owned();
    let text = match &*model {
        // It has been parsed, so it is UTF-8.
        "echo-request" => String::from_utf8_lossy(&call.body).into_owned(),
        _ => question::last_words(call.endpoint, request),
    };
    Answer { model, text, asked_words: question::words(call.endpoint, request) }
}

fn chunks(chunks: Vec<Value>) -> Vec<Event> {
    chunks.into_iter().map(|chunk| Event { name: None, data: chunk.to_string().into() }).collect()
}

/// An event of `responses` is named by its type.
fn named(event: Value) -> Event {
    Event { name: event["type"].as_str().map(Into::into), data: event.to_string().into() }
}

fn paced(events: Vec<Event>, delay: Duration) -> Events {
    let events = stream::iter(events.into_iter().map(Ok));
    if delay.is_zero() { Box::pin(events) } else { Box::pin(delayed(events, delay)) }
}

fn delayed<T: Send>(items: impl Stream<Item = T> + Send, delay: Duration) -> impl Stream<Item = T> + Send {
    items.then(move |item| async move {
        tokio::time::sleep(delay).await;
        item
    })
}

#[cfg(test)]
mod tests;
