//! The provider `openai`: sends a request to an OpenAI-compatible API, and reads the answer.
//!
//! The upstream calls it through [`Provider`]. It sends the body that it is given and returns the body that it
//! receives; `form` and `decode` accept answers in an unexpected form. Deliberately absent: retries, redirects and
//! rewriting of fields.

use std::{
    fmt,
    sync::{Arc, LazyLock},
    time::Duration,
};

use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt, future::BoxFuture, stream};
use http::{
    HeaderMap, HeaderName, HeaderValue, Method, Response,
    header::{ACCEPT, CONTENT_LENGTH, CONTENT_TYPE, LOCATION, USER_AGENT},
};
use memchr::memmem::Finder;
use reqwest::Url;
use serde_json::Value;
use tokio::time::timeout;

use super::{
    binary,
    body::{ReadBody, read},
    decode::decoded,
    form::{self, Form},
};
use crate::{
    Endpoint,
    document::Document,
    error::Error,
    progress::Progress,
    provider::{
        Answer, Binary, Call, Event, Events, Provider,
        connection::{Body, Exchange, Outgoing, Target},
        end_of_stream::EndOfStream,
        failure::{self, bad_gateway, timed_out},
        passed_headers::{ForwardedHeaders, ReturnedHeaders},
        secret::Secrets,
        sse::{self, Input},
    },
};

/// Maximum size of an error's body that is read, in bytes.
const MAX_ERROR_BYTES: usize = 1024 * 1024;

const REQUEST_ID: &str = "x-request-id";
pub(super) const JSON: &str = "application/json";
const ANY: &str = "*/*";
const EVENT_STREAM: &str = "text/event-stream";
/// The `user-agent` of requests, unless another is configured or forwarded.
pub(super) const LLMUX: &str = concat!("llmux/", env!("CARGO_PKG_VERSION"));

/// An OpenAI-compatible API. It keeps its connections open: make one and share it.
///
/// ```no_run
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// use llmux_core::{Endpoint, provider::{Call, OpenAi, Provider}};
///
/// let openai = OpenAi::builder("openai", "https://api.openai.com/v1").api_key("sk-…").build()?;
/// let body = r#"{"model": "gpt-4o", "messages": [{"role": "user", "content": "Hello"}]}"#;
/// let call = Call::new(Endpoint::ChatCompletions, body, "1");
/// let answer = openai.send(call).await?;
/// println!("{}", answer.content.get_str("/choices/0/message/content").unwrap_or_default());
/// # Ok(())
/// # }
/// ```
pub struct OpenAi {
    pub(super) name: Arc<str>,
    pub(super) exchange: Exchange,
    /// The URL of each of [`Endpoint::ALL`].
    pub(super) targets: Vec<(Endpoint, Target)>,
    /// The base URL, for stored responses.
    pub(super) base: Url,
    /// The headers of every request, the key included.
    pub(super) headers: HeaderMap,
    pub(super) secrets: Arc<Secrets>,
    pub(super) timeout: Duration,
    pub(super) idle_timeout: Duration,
    pub(super) max_response_bytes: usize,
    pub(super) stream_usage: bool,
    /// The header that carries the API key.
    pub(super) key_header: Option<HeaderName>,
    pub(super) forwarded: ForwardedHeaders,
    pub(super) returned: ReturnedHeaders,
}

/// A response whose head has arrived.
pub(super) struct Accepted {
    status: u16,
    headers: HeaderMap,
    /// The body, without compression.
    pub(super) input: Input,
    /// The length of the body; 0 if it is not known.
    pub(super) announced: usize,
}

impl OpenAi {
    /// Sends the request. Ready when the head of the response has arrived.
    async fn exchange(
        &self,
        call: Call,
        accept: &'static str,
        progress: &mut Progress,
    ) -> Result<Response<Body>, Error> {
        let stored = self.stored(&call)?;
        let of_endpoint = || self.targets.iter().find(|(endpoint, _)| *endpoint == call.endpoint);
        let Some(target) = stored.as_ref().or_else(|| of_endpoint().map(|(_, target)| target)) else {
            return Err(bad_gateway("the provider has no such endpoint").with_progress(Progress::Answered));
        };
        // The body of a request for a stored response is for hooks alone.
        let body = if stored.is_some() { Bytes::new() } else { call.body };
        let mut headers = self.headers.clone();
        let of_plugins = call.headers.into_iter().filter(|(name, _)| Some(name) != self.key_header.as_ref());
        for (name, value) in of_plugins {
            headers.insert(name, value);
        }
        self.forwarded.add(&call.client_headers, &mut headers);
        headers.entry(USER_AGENT).or_insert(HeaderValue::from_static(LLMUX));
        if stored.is_none() {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static(JSON));
        }
        headers.insert(ACCEPT, HeaderValue::from_static(accept));
        // The caller chose the id: if it is no valid header value, the request goes without it.
        if let Ok(id) = HeaderValue::from_str(&call.request_id) {
            headers.insert(REQUEST_ID, id);
        }
        let method = Method::from_bytes(call.endpoint.method().as_bytes()).unwrap_or(Method::POST);
        let outgoing = Outgoing { target, method, headers, body, new_connection: call.new_connection };
        let sent = self.exchange.send(outgoing, progress).await;
        sent.map_err(|failure| failure::no_response(failure, *progress, &self.secrets))
    }

    /// Returns the response if it succeeded, otherwise the error in it.
    pub(super) async fn accepted(&self, response: Response<Body>) -> Result<Accepted, Error> {
        let (head, body) = response.into_parts();
        let (status, mut headers) = (head.status, head.headers);
        let announced = body.announced();
        let secrets = self.secrets.clone();
        let input: Input = Box::pin(
            body.map_err(move |error| failure::broke_off(error, "the response broke off", &secrets)),
        );
        let input = decoded(&mut headers, input);
        if status.is_success() {
            let input = input.map_err(|error| error.with_progress(Progress::Answered))?;
            // The length of a compressed body says nothing about the length that is read.
            let announced = if headers.contains_key(CONTENT_LENGTH) { announced as usize } else { 0 };
            return Ok(Accepted { status: status.as_u16(), headers, input, announced });
        }
        if !status.is_client_error() && !status.is_server_error() {
            let status = status.as_u16();
            let to = headers.get(LOCATION).and_then(|to| to.to_str().ok()).map(failure::excerpt);
            let to = to.map(|to| format!(" (to {})", self.secrets.redact(&to))).unwrap_or_default();
            let message = format!("the provider answered with status {status}{to}, which is no answer");
            return Err(bad_gateway(message).with_progress(Progress::Answered));
        }
        // If the error's body breaks off, is too long or cannot be decompressed, the status is still known.
        let read = match input {
            Ok(mut input) => read(&mut input, 0, MAX_ERROR_BYTES).await,
            Err(_) => ReadBody::Cut(Bytes::new(), None),
        };
        let (body, progress) = match read {
            ReadBody::Whole(body) => (body, Progress::Answered),
            ReadBody::Cut(body, _) => (body, Progress::HeadReceived),
        };
        let error = failure::from_reply(status.as_u16(), &headers, &body, &self.secrets);
        Err(error.with_progress(progress).with_headers(headers))
    }

    /// Reads the whole body of a response.
    pub(super) async fn body(&self, input: &mut Input, announced: usize) -> Result<Bytes, Error> {
        match read(input, announced, self.max_response_bytes).await {
            ReadBody::Whole(body) => Ok(body),
            ReadBody::Cut(_, Some(error)) => Err(error),
            ReadBody::Cut(_, None) => Err(bad_gateway(format_args!(
                "the provider's response has more than {} bytes",
                self.max_response_bytes
            ))
            .with_progress(Progress::Answered)),
        }
    }

    async fn whole(&self, call: Call, progress: &mut Progress) -> Result<Answer<Document>, Error> {
        let endpoint = call.endpoint;
        let response = self.exchange(call, JSON, progress).await?;
        let mut accepted = self.accepted(response).await?;
        let body = self.body(&mut accepted.input, accepted.announced).await?;
        *progress = Progress::Answered;
        let document = self.document(endpoint, accepted.status, &accepted.headers, body).await;
        match document {
            Ok(document) => Ok(Answer::new(document, accepted.headers)),
            Err(error) => Err(error.with_progress(Progress::Answered).with_headers(accepted.headers)),
        }
    }

    /// Makes a document of a body in any form. Fails if the body is an error.
    async fn document(
        &self,
        endpoint: Endpoint,
        status: u16,
        headers: &HeaderMap,
        arrived: Bytes,
    ) -> Result<Document, Error> {
        let content_type = headers.get(CONTENT_TYPE).map_or("", |value| value.to_str().unwrap_or("?"));
        let unusable = |why: &str| form::unusable(status, content_type, &arrived, why, &self.secrets);
        let body = match form::form_of(&arrived) {
            None => return Err(unusable("an empty body")),
            Some(Form::Other) => return Err(unusable("a body that is neither JSON nor a stream of events")),
            Some(Form::Json) => arrived.clone(),
            Some(Form::Events) => {
                let input: Input = Box::pin(stream::iter([Ok(arrived.clone())]));
                let ending = EndOfStream::new(endpoint, self.secrets.clone());
                form::join(sse::events(input, self.idle_timeout, ending)).await?
            }
        };
        // Quotes inside a JSON string are escaped, so a model's text does not match.
        static ERROR: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(b"\"error\""));
        if ERROR.find(&body).is_some()
            && let Some(value) = failure::json(form::visible(&body))
            && let Some(error) = failure::from_body(value, &self.secrets)
        {
            return Err(error);
        }
        if form::visible(&body).first() != Some(&b'{') {
            return Err(unusable("a JSON value that is no object"));
        }
        let parsed = Document::parse_lenient_off_thread(body.slice_ref(without_mark(&body))).await;
        parsed.map_err(|error| unusable(&format!("invalid JSON ({error})")))
    }

    /// Sends a request for an answer of bytes. Ready when its head has arrived.
    async fn bytes(&self, call: Call, progress: &mut Progress) -> Result<Answer<Binary>, Error> {
        let response = self.exchange(call, ANY, progress).await?;
        let Accepted { headers, input, announced, .. } = self.accepted(response).await?;
        let announced = headers.contains_key(CONTENT_LENGTH).then_some(announced as u64);
        let bounds = binary::Bounds { limit: self.max_response_bytes, idle: self.idle_timeout };
        match binary::binary(&headers, input, announced, bounds, &self.secrets).await {
            Ok(binary) => Ok(Answer::new(binary, headers)),
            Err(error) => Err(error.with_headers(headers)),
        }
    }

    /// Sends a request for a stream. Ready when the first event has arrived.
    async fn events(&self, mut call: Call, progress: &mut Progress) -> Result<Answer<Events>, Error> {
        let endpoint = call.endpoint;
        let head = async {
            let mark = call.accepted.take();
            let response = self.exchange(call, EVENT_STREAM, progress).await?;
            let mut accepted = self.accepted(response).await?;
            if let Some(mark) = mark {
                mark.set();
            }
            let (form, beginning) = beginning(&mut accepted.input, self.max_response_bytes).await?;
            Ok((accepted, form, beginning))
        };
        let head = timeout(self.idle_timeout, head).await;
        let (mut accepted, form, beginning) =
            head.unwrap_or_else(|_| Err(timed_out("sent nothing", self.idle_timeout)))?;
        let rest = std::mem::replace(&mut accepted.input, Box::pin(stream::empty()));
        let mut input: Input = Box::pin(stream::iter(beginning.into_iter().map(Ok)).chain(rest));
        if form != Some(Form::Events) {
            let body = timeout(self.idle_timeout, self.body(&mut input, accepted.announced)).await;
            let body = body.unwrap_or_else(|_| Err(timed_out("sent nothing", self.idle_timeout)))?;
            *progress = Progress::Answered;
            let document = self.document(endpoint, accepted.status, &accepted.headers, body).await;
            let document = document.map_err(|error| error.with_headers(accepted.headers.clone()))?;
            return Ok(Answer::new(form::split(endpoint, &document)?, accepted.headers));
        }
        let ending = EndOfStream::new(endpoint, self.secrets.clone());
        let mut events = sse::events(input, self.idle_timeout, ending);
        // An error in the first event is the error of the request (rule F5).
        match events.next().await {
            Some(Ok(first)) => match self.error_in(endpoint, &first) {
                Some(error) => Err(error.with_progress(Progress::Answered).with_headers(accepted.headers)),
                None => {
                    let events = stream::iter([Ok(first)]).chain(events);
                    Ok(Answer::new(Box::pin(events) as Events, accepted.headers))
                }
            },
            Some(Err(error)) => Err(error.with_headers(accepted.headers)),
            None => Ok(Answer::new(events, accepted.headers)),
        }
    }

    /// Returns the error that an event of `responses` is. On the other endpoints, the decoder has returned it already.
    fn error_in(&self, endpoint: Endpoint, event: &Event) -> Option<Error> {
        if endpoint.ends_with_done() || memchr::memmem::find(&event.data, b"error").is_none() {
            return None;
        }
        let body: Value = serde_json::from_slice(&event.data).ok()?;
        let kind = event.name.as_deref().or_else(|| body["type"].as_str());
        (kind == Some("error")).then(|| failure::from_error(body, &self.secrets))
    }
}

/// Reads the beginning of a body, up to its first visible byte. Returns the form and the pieces that were read.
async fn beginning(input: &mut Input, limit: usize) -> Result<(Option<Form>, Vec<Bytes>), Error> {
    let (mut pieces, mut length) = (Vec::new(), 0);
    while let Some(piece) = input.next().await {
        let piece = piece?;
        let form = form::form_of(&piece);
        length += piece.len();
        pieces.push(piece);
        if form.is_some() || length > limit {
            return Ok((form, pieces));
        }
    }
    Ok((None, pieces))
}

/// Returns a body without its byte order mark.
fn without_mark(body: &[u8]) -> &[u8] {
    body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(body)
}

impl Provider for OpenAi {
    fn send(&self, call: Call) -> BoxFuture<'_, Result<Answer<Document>, Error>> {
        Box::pin(async move {
            let mut progress = Progress::NotSent;
            let answer = timeout(self.timeout, self.whole(call, &mut progress)).await;
            let answer =
                answer.unwrap_or_else(|_| Err(timed_out("did not finish its response", self.timeout)));
            answer.map_err(|error| at_least(error, progress))
        })
    }

    fn stream(&self, call: Call) -> BoxFuture<'_, Result<Answer<Events>, Error>> {
        Box::pin(async move {
            if !call.endpoint.streams() {
                return Err(Error::no_stream(call.endpoint));
            }
            let mut progress = Progress::NotSent;
            let events = self.events(call, &mut progress).await;
            events.map_err(|error| at_least(error, progress))
        })
    }

    fn binary(&self, call: Call) -> BoxFuture<'_, Result<Answer<Binary>, Error>> {
        Box::pin(async move {
            let mut progress = Progress::NotSent;
            let answer = timeout(self.timeout, self.bytes(call, &mut progress)).await;
            let answer =
                answer.unwrap_or_else(|_| Err(timed_out("did not begin its response", self.timeout)));
            answer.map_err(|error| at_least(error, progress))
        })
    }

    fn returned_headers(&self) -> &ReturnedHeaders {
        &self.returned
    }

    fn models(&self) -> BoxFuture<'_, Result<Option<Vec<String>>, Error>> {
        Box::pin(self.list())
    }

    fn stream_usage(&self) -> bool {
        self.stream_usage
    }
}

/// Sets the progress of the exchange, unless the error has one of its own.
fn at_least(error: Error, progress: Progress) -> Error {
    if error.has_progress() { error } else { error.with_progress(progress) }
}

impl fmt::Debug for OpenAi {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Without the URLs, which may hold credentials.
        f.debug_struct("OpenAi").field("name", &self.name).finish_non_exhaustive()
    }
}
