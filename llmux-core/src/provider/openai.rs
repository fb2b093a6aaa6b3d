//! Any API that speaks OpenAI's HTTP, at OpenAI or elsewhere (<https://platform.openai.com/docs/api-reference>).
//!
//! The client calls it through [`Provider`]; a configuration names it `openai`. It sends the body that it is given
//! and hands back the body that it gets. It retries nothing, follows no redirect, asks for no compression and
//! rewrites no field: all of that is decided elsewhere, or by nobody.

use std::{fmt, sync::Arc, time::Duration};

use bytes::{Bytes, BytesMut};
use futures_util::{StreamExt, TryStreamExt, future::BoxFuture};
use http::{
    HeaderMap, HeaderValue,
    header::{ACCEPT, CONTENT_TYPE},
};
use reqwest::{Response, Url};
use serde_json::Value;
use tokio::time::timeout;

use super::{
    Call, Events, Provider, ProviderSettings,
    ending::Ending,
    failure::{self, bad_gateway, timed_out},
    secret::Secrets,
    sse,
};
use crate::{
    Endpoint,
    document::Document,
    error::{Error, ErrorKind},
};

mod builder;

pub use builder::{BuildError, OpenAiBuilder};

/// The most of an error's body that is read, in bytes.
const MAX_ERROR_BYTES: usize = 1024 * 1024;

/// Where OpenAI itself is.
const OPENAI: &str = "https://api.openai.com/v1";

const REQUEST_ID: &str = "x-request-id";
const JSON: &str = "application/json";
const EVENT_STREAM: &str = "text/event-stream";

/// An OpenAI-compatible API. It keeps its connections; make one and share it.
///
/// ```no_run
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// use llmux_core::{Endpoint, provider::{Call, OpenAi, Provider}};
///
/// let openai = OpenAi::builder("openai", "https://api.openai.com/v1").api_key("sk-…").build()?;
/// let body = r#"{"model": "gpt-4o", "messages": [{"role": "user", "content": "Hello"}]}"#;
/// let call = Call { endpoint: Endpoint::ChatCompletions, body: body.into(), request_id: "1".into() };
/// let response = openai.send(call).await?;
/// println!("{}", response.get_str("/choices/0/message/content").unwrap_or_default());
/// # Ok(())
/// # }
/// ```
pub struct OpenAi {
    name: Arc<str>,
    client: reqwest::Client,
    /// Where each of [`Endpoint::ALL`] is.
    urls: Vec<(Endpoint, Url)>,
    /// What every request carries, the key included.
    headers: HeaderMap,
    secrets: Arc<Secrets>,
    timeout: Duration,
    idle_timeout: Duration,
    max_response_bytes: usize,
    stream_usage: bool,
}

impl OpenAi {
    /// An API by the name that messages give it and by its base URL, as OpenAI's SDKs take it: version included,
    /// `https://api.openai.com/v1`.
    pub fn builder(name: impl Into<Arc<str>>, base_url: impl Into<String>) -> OpenAiBuilder {
        OpenAiBuilder::new(name.into(), base_url.into())
    }

    /// Sends the request; ready when the head of the response is there.
    async fn exchange(&self, call: Call, accept: &'static str) -> Result<Response, Error> {
        let url =
            self.urls.iter().find(|(endpoint, _)| *endpoint == call.endpoint).map(|(_, url)| url.clone());
        let Some(url) = url else { return Err(bad_gateway("the provider has no such endpoint")) };
        let mut headers = self.headers.clone();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(JSON));
        headers.insert(ACCEPT, HeaderValue::from_static(accept));
        // A request id that is no header value is the caller's own affair, and no reason to fail.
        if let Ok(id) = HeaderValue::from_str(&call.request_id) {
            headers.insert(REQUEST_ID, id);
        }
        self.client
            .post(url)
            .headers(headers)
            .body(call.body)
            .send()
            .await
            .map_err(|error| failure::transport(&error, "the provider did not answer", &self.secrets))
    }

    /// The response itself if it succeeded, otherwise the error in it.
    async fn accepted(&self, response: Response) -> Result<Response, Error> {
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        if !status.is_client_error() && !status.is_server_error() {
            let status = status.as_u16();
            return Err(bad_gateway(format_args!(
                "the provider answered with status {status}, which is no answer"
            )));
        }
        let headers = response.headers().clone();
        // An error that breaks off or does not end is still an error with a status.
        let (Body::Whole(body) | Body::Cut(body, _)) = read(response, MAX_ERROR_BYTES).await;
        Err(failure::from_reply(status.as_u16(), &headers, &body, &self.secrets))
    }

    /// The whole body of a response.
    async fn body(&self, response: Response) -> Result<Bytes, Error> {
        match read(response, self.max_response_bytes).await {
            Body::Whole(body) => Ok(body),
            Body::Cut(_, Some(error)) => {
                Err(failure::transport(&error, "the response broke off", &self.secrets))
            }
            Body::Cut(_, None) => Err(bad_gateway(format_args!(
                "the provider's response has more than {} bytes",
                self.max_response_bytes
            ))),
        }
    }

    async fn whole(&self, call: Call) -> Result<Document, Error> {
        let endpoint = call.endpoint;
        let response = self.accepted(self.exchange(call, JSON).await?).await?;
        let status = response.status().as_u16();
        let body = self.body(response).await?;
        let nonsense = |why: &str| {
            bad_gateway(format_args!("the provider answered with status {status} and no JSON object: {why}"))
        };
        if body.trim_ascii_start().first() != Some(&b'{') {
            return Err(nonsense(match body.is_empty() {
                true => "the body is empty",
                false => "the body is something else",
            }));
        }
        let document = Document::parse(body).map_err(|error| nonsense(&error.to_string()))?;
        // Some compatible servers answer an error with status 200. A response object has a member `error` of its own.
        if endpoint != Endpoint::Responses
            && document.get("/choices").is_none()
            && document.get("/data").is_none()
            && document.get("/error").is_some()
            && let Ok(body) = serde_json::from_slice(&document.to_bytes())
            && let Some(error) = failure::from_body(body, &self.secrets)
        {
            return Err(error);
        }
        Ok(document)
    }

    async fn accepted_stream(&self, call: Call) -> Result<Response, Error> {
        let response = self.accepted(self.exchange(call, EVENT_STREAM).await?).await?;
        let content_type =
            response.headers().get(CONTENT_TYPE).map_or("", |value| value.to_str().unwrap_or("?"));
        let media_type = content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
        match &*media_type {
            // A server that names no type has understood `stream: true` often enough.
            EVENT_STREAM | "" => Ok(response),
            JSON => {
                let body = self.body(response).await?;
                let error = serde_json::from_slice::<Value>(&body)
                    .ok()
                    .and_then(|body| failure::from_body(body, &self.secrets));
                Err(error.unwrap_or_else(|| {
                    bad_gateway("the provider answered a request for a stream with one JSON document")
                }))
            }
            other => Err(bad_gateway(format_args!(
                "the provider answered a request for a stream with {}",
                failure::excerpt(other)
            ))),
        }
    }
}

impl Provider for OpenAi {
    fn send(&self, call: Call) -> BoxFuture<'_, Result<Document, Error>> {
        Box::pin(async move {
            let answer = timeout(self.timeout, self.whole(call)).await;
            answer.unwrap_or_else(|_| Err(timed_out("did not finish its response", self.timeout)))
        })
    }

    fn stream(&self, call: Call) -> BoxFuture<'_, Result<Events, Error>> {
        Box::pin(async move {
            let endpoint = call.endpoint;
            if endpoint == Endpoint::Embeddings {
                return Err(Error::new(ErrorKind::InvalidRequest, "embeddings do not stream"));
            }
            let response = timeout(self.idle_timeout, self.accepted_stream(call)).await;
            let response = response.unwrap_or_else(|_| Err(timed_out("sent nothing", self.idle_timeout)))?;
            let secrets = self.secrets.clone();
            let input = response.bytes_stream().map_err(move |error| {
                failure::transport(&error, "the provider's stream broke off", &secrets)
            });
            let ending = Ending::new(endpoint, self.secrets.clone());
            Ok(sse::events(Box::pin(input), self.idle_timeout, ending))
        })
    }

    fn stream_usage(&self) -> bool {
        self.stream_usage
    }
}

impl fmt::Debug for OpenAi {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The URLs stay out: they may hold credentials.
        f.debug_struct("OpenAi").field("name", &self.name).finish_non_exhaustive()
    }
}

/// How a configuration makes one.
pub(super) fn from_settings(settings: &ProviderSettings) -> Result<Arc<dyn Provider>, String> {
    let base_url = settings.base_url.as_deref().unwrap_or(OPENAI);
    let mut builder = OpenAi::builder(&*settings.name, base_url).stream_usage(settings.stream_usage);
    if let Some(key) = &settings.api_key {
        builder = builder.api_key(key.clone());
    }
    for (name, value) in &settings.headers {
        builder = builder.header(name, value.clone());
    }
    if let Some(limit) = settings.connect_timeout {
        builder = builder.connect_timeout(limit);
    }
    if let Some(limit) = settings.timeout {
        builder = builder.timeout(limit);
    }
    if let Some(limit) = settings.idle_timeout {
        builder = builder.idle_timeout(limit);
    }
    if let Some(limit) = settings.max_response_bytes {
        builder = builder.max_response_bytes(limit);
    }
    match builder.build() {
        Ok(provider) => Ok(Arc::new(provider)),
        Err(error) => Err(error.to_string()),
    }
}

/// What could be read of a body.
enum Body {
    Whole(Bytes),
    /// The beginning, and why there is no more: an error, or none when it was longer than allowed.
    Cut(Bytes, Option<reqwest::Error>),
}

/// Reads a body of at most `limit` bytes. One that comes in one piece is not copied.
async fn read(response: Response, limit: usize) -> Body {
    let announced = response.content_length().unwrap_or(0);
    if announced > limit as u64 {
        return Body::Cut(Bytes::new(), None);
    }
    let mut pieces = response.bytes_stream();
    let mut body = Gathered::default();
    while let Some(piece) = pieces.next().await {
        match piece {
            Ok(piece) if body.len() + piece.len() > limit => return Body::Cut(body.take(), None),
            Ok(piece) => body.push(piece, announced as usize),
            Err(error) => return Body::Cut(body.take(), Some(error)),
        }
    }
    Body::Whole(body.take())
}

/// The pieces of a body, joined.
enum Gathered {
    One(Bytes),
    Many(BytesMut),
}

impl Default for Gathered {
    fn default() -> Self {
        Gathered::One(Bytes::new())
    }
}

impl Gathered {
    fn len(&self) -> usize {
        match self {
            Gathered::One(piece) => piece.len(),
            Gathered::Many(pieces) => pieces.len(),
        }
    }

    /// Adds a piece of a body that is said to have `announced` bytes.
    fn push(&mut self, piece: Bytes, announced: usize) {
        match self {
            Gathered::One(first) if first.is_empty() => *first = piece,
            Gathered::One(first) => {
                // Believed up to a megabyte: an announcement costs its sender nothing.
                let capacity = announced.min(1 << 20).max(first.len() + piece.len());
                let mut pieces = BytesMut::with_capacity(capacity);
                pieces.extend_from_slice(first);
                pieces.extend_from_slice(&piece);
                *self = Gathered::Many(pieces);
            }
            Gathered::Many(pieces) => pieces.extend_from_slice(&piece),
        }
    }

    fn take(self) -> Bytes {
        match self {
            Gathered::One(piece) => piece,
            Gathered::Many(pieces) => pieces.freeze(),
        }
    }
}
