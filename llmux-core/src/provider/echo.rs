//! The provider `echo`: answers offline, deterministically and at once, so that everything can be tried without a key.
//!
//! The program uses it when no provider is configured, and most tests use it. The model's name chooses the answer:
//!
//! | model | answer |
//! |---|---|
//! | `echo-request` | the JSON body that would have been sent upstream, as text |
//! | `echo-error-NNN` | an error with that status, 400 to 599; 429 has a `retry-after` of one second |
//! | `echo`, and any other name | the last user message, the prompt, or the input |
//!
//! Deliberately absent: the checks of a real provider. It accepts every body that is a JSON object.

use std::{sync::Arc, time::Duration};

use futures_util::{Stream, StreamExt, future::BoxFuture, stream};
use serde_json::{Value, json};

use crate::{
    Endpoint,
    document::Document,
    error::{Error, ErrorKind},
    provider::{Answer, Binary, BuildError, Call, Event, Events, Provider, ProviderSettings},
};

mod embedding;
mod other;
mod request;
mod response;

use response::EchoResponse;

/// A provider that answers with the request's own text.
#[derive(Clone, Copy, Debug, Default)]
pub struct Echo {
    chunk_delay: Duration,
}

impl Echo {
    /// A provider that answers without delay.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the delay before each chunk of a stream. Default: zero.
    #[must_use]
    pub fn with_chunk_delay(mut self, delay: Duration) -> Self {
        self.chunk_delay = delay;
        self
    }
}

impl Provider for Echo {
    fn send(&self, call: Call) -> BoxFuture<'_, Result<Answer<Document>, Error>> {
        Box::pin(async move {
            let request = parse(&call)?;
            let document = match call.endpoint {
                Endpoint::Embeddings => embedding::list(&request),
                Endpoint::ChatCompletions => respond(&call, &request).chat_completion(),
                Endpoint::Completions => respond(&call, &request).text_completion(),
                Endpoint::Responses => respond(&call, &request).response("completed"),
                Endpoint::Moderations => other::moderation(&request),
                Endpoint::ImageGenerations => other::images(&request),
                Endpoint::Rerank => other::ranking(&request),
                Endpoint::Speech => {
                    let message = "`audio/speech` answers with bytes";
                    return Err(Error::new(ErrorKind::InvalidRequest, message));
                }
                Endpoint::ResponseRetrieval | Endpoint::ResponseDeletion | Endpoint::ResponseCancellation => {
                    return Err(stores_nothing(&request));
                }
            };
            Ok(Document::from_value(&document).into())
        })
    }

    fn binary(&self, call: Call) -> BoxFuture<'_, Result<Answer<Binary>, Error>> {
        Box::pin(async move { Ok(other::speech(&parse(&call)?).into()) })
    }

    fn stream(&self, call: Call) -> BoxFuture<'_, Result<Answer<Events>, Error>> {
        Box::pin(async move {
            let request = parse(&call)?;
            let response = respond(&call, &request);
            let usage = request.pointer("/stream_options/include_usage") == Some(&Value::Bool(true));
            let events = match call.endpoint {
                Endpoint::ChatCompletions => chunks(response.chat_chunks(usage)),
                Endpoint::Completions => chunks(response.text_chunks(usage)),
                Endpoint::Responses => response.response_events().into_iter().map(named).collect(),
                endpoint => return Err(Error::no_stream(endpoint)),
            };
            Ok(paced(events, self.chunk_delay).into())
        })
    }
}

/// The error of a request for a stored response.
fn stores_nothing(request: &Value) -> Error {
    let id = request["response_id"].as_str().unwrap_or_default();
    let message = format!("Response with id '{id}' not found: the provider `echo` stores no responses.");
    let error = json!({"message": message, "type": "invalid_request_error", "param": null, "code": null});
    Error::from_parts(ErrorKind::Provider, 404, error, None)
}

/// Builds a provider from a configuration's settings.
pub(super) fn from_settings(settings: &ProviderSettings) -> Result<Arc<dyn Provider>, BuildError> {
    Ok(Arc::new(Echo::new().with_chunk_delay(settings.chunk_delay.unwrap_or_default())))
}

/// Parses the request. Returns the model's error for `echo-error-NNN`.
fn parse(call: &Call) -> Result<Value, Error> {
    let refuse = |why: &str| Error::new(ErrorKind::InvalidRequest, format_args!("the request's body {why}"));
    let request: Value =
        serde_json::from_slice(&call.body).map_err(|error| refuse(&format!("is not JSON: {error}")))?;
    if !request.is_object() {
        return Err(refuse("is not a JSON object"));
    }
    match error_of_model(request::model(&request)) {
        Some(error) => Err(error),
        None => Ok(request),
    }
}

/// The error of a model `echo-error-NNN`.
fn error_of_model(model: &str) -> Option<Error> {
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

fn respond(call: &Call, request: &Value) -> EchoResponse {
    let model = request::model(request).to_owned();
    let text = match &*model {
        // It has been parsed as JSON, so it is UTF-8.
        "echo-request" => String::from_utf8_lossy(&call.body).into_owned(),
        _ => request::last_text(call.endpoint, request),
    };
    EchoResponse { model, text, request_words: request::words(call.endpoint, request) }
}

fn chunks(chunks: Vec<Value>) -> Vec<Event> {
    chunks.into_iter().map(|chunk| Event { name: None, data: chunk.to_string().into() }).collect()
}

/// An event of `responses`, whose name is its type.
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
