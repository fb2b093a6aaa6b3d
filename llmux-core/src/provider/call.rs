//! One call of a provider: the trait, what goes in, and the stream that may come out.
//!
//! The upstream makes a [`Call`] for each try and calls the trait; the files beside this one implement it.

use std::{pin::Pin, sync::Arc};

use bytes::Bytes;
use futures_util::{Stream, future::BoxFuture};

use http::{HeaderMap, HeaderName, HeaderValue};

use tokio::sync::Notify;

use super::{binary::Binary, passed_headers::ReturnedHeaders};
use crate::{
    Endpoint,
    document::Document,
    error::{Error, ErrorKind},
};

/// One call of a provider.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Call {
    /// The endpoint.
    pub endpoint: Endpoint,
    /// The body to send, a JSON object. Its `model` is the model's name at this provider.
    pub body: Bytes,
    /// The request's id, sent as `x-request-id`.
    pub request_id: Arc<str>,
    /// The headers that plugins have set for the provider. Credentials and what frames a message are never among them.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// The client's headers, credentials redacted. A provider forwards those that its operator names (rule F9).
    pub client_headers: Arc<HeaderMap>,
    /// Sends the request on a new connection, because a kept one had closed (rule F1). A provider without connections
    /// ignores it.
    pub new_connection: bool,
    /// For a stream: the mark to set when the provider has accepted the request (status 2xx) and before its first event is
    /// there (rule S7). `None` if nobody waits for it.
    pub accepted: Option<Accepted>,
}

/// The mark that a provider has accepted a request for a stream.
#[derive(Clone, Debug, Default)]
pub struct Accepted(Arc<Notify>);

impl Accepted {
    /// Sets the mark.
    pub fn set(&self) {
        self.0.notify_one();
    }

    /// Waits until the mark is set.
    pub(crate) async fn wait(&self) {
        self.0.notified().await;
    }
}

impl Call {
    /// A call of an endpoint with a body.
    pub fn new(endpoint: Endpoint, body: impl Into<Bytes>, request_id: impl Into<Arc<str>>) -> Self {
        Self {
            endpoint,
            body: body.into(),
            request_id: request_id.into(),
            headers: Vec::new(),
            client_headers: Arc::default(),
            new_connection: false,
            accepted: None,
        }
    }
}

/// A provider's answer: its content, and the headers that came with it. An answer without headers is made by `into`.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Answer<T> {
    /// The content: a document, or the events of a stream.
    pub content: T,
    /// The headers, if there are any. Plugins can read them, except credentials.
    pub headers: Option<Box<HeaderMap>>,
}

impl<T> Answer<T> {
    /// An answer with headers.
    pub fn new(content: T, headers: HeaderMap) -> Self {
        Self { content, headers: (!headers.is_empty()).then(|| headers.into()) }
    }
}

impl<T> From<T> for Answer<T> {
    fn from(content: T) -> Self {
        Self { content, headers: None }
    }
}

/// One event of a provider's stream.
#[derive(Clone, Debug)]
pub struct Event {
    /// The event's name. `None` if it has none, as the chunks of `chat/completions`.
    pub name: Option<Arc<str>>,
    /// The event's data, byte for byte.
    pub data: Bytes,
}

impl Event {
    /// Makes an event of JSON text. It is named by its `type`, as on the responses endpoint; other chunks have none.
    pub(crate) fn named(data: String) -> Self {
        let document = Document::parse(data.clone()).ok();
        let name = document.as_ref().and_then(|document| document.get_str("/type"));
        Self { name: name.map(Into::into), data: data.into() }
    }
}

/// A provider's stream. It ends after the endpoint's own last event. If the upstream breaks off earlier, the last item is
/// an error.
pub type Events = Pin<Box<dyn Stream<Item = Result<Event, Error>> + Send>>;

/// An API that answers requests, or the embedder's own code.
///
/// Called once for each try: the upstream around it retries and chooses deployments. It may be called from several tasks
/// at once.
pub trait Provider: Send + Sync + 'static {
    /// Sends a request and returns the whole response, a JSON document.
    ///
    /// # Errors
    ///
    /// The provider's error, or the reason why there is no answer. The error's kind, status and
    /// [`progress`](Error::progress) decide whether the upstream tries again (rule F1).
    fn send(&self, call: Call) -> BoxFuture<'_, Result<Answer<Document>, Error>>;

    /// Sends a request whose response streams. Ready when the first event has arrived. Dropping the stream closes the
    /// connection.
    ///
    /// # Errors
    ///
    /// As for [`send`](Self::send), if there is no stream. A later error is the stream's last item.
    fn stream(&self, call: Call) -> BoxFuture<'_, Result<Answer<Events>, Error>>;

    /// Sends a request whose answer is not JSON ([`Endpoint::is_binary`]). Ready when the head of the answer has arrived.
    /// Default: an error, because the provider has no such endpoint.
    ///
    /// # Errors
    ///
    /// As for [`send`](Self::send), if there is no answer of bytes.
    fn binary(&self, call: Call) -> BoxFuture<'_, Result<Answer<Binary>, Error>> {
        let message = format!("the provider has no endpoint `{}`", call.endpoint);
        Box::pin(std::future::ready(Err(Error::new(ErrorKind::InvalidRequest, message))))
    }

    /// Returns the headers of this provider's answers that go back to the client (rule F9). Default: the quota, the advice
    /// about a retry, the time of processing and the provider's request id.
    fn returned_headers(&self) -> &ReturnedHeaders {
        ReturnedHeaders::usual()
    }

    /// Returns the names of the models that the API lists; `None` if it has no list (rule F10). Default: `None`.
    ///
    /// # Errors
    ///
    /// The reason for which the list could not be read.
    fn models(&self) -> BoxFuture<'_, Result<Option<Vec<String>>, Error>> {
        Box::pin(std::future::ready(Ok(None)))
    }

    /// Returns true if the API supports `stream_options.include_usage` (rule S8). Default: true.
    fn stream_usage(&self) -> bool {
        true
    }
}
