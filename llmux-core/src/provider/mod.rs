//! Providers: who answers a request. The trait, and the table of the types that a configuration can name.

use std::{pin::Pin, sync::Arc, time::Duration};

use bytes::Bytes;
use futures_util::{Stream, future::BoxFuture};

use crate::{Endpoint, document::Document, error::Error};

/// One call of a provider.
#[derive(Clone, Debug)]
pub struct Call {
    /// The endpoint.
    pub endpoint: Endpoint,
    /// The body to send, with the model's name at this provider in it.
    pub body: Bytes,
    /// The request's id, sent as `x-request-id`.
    pub request_id: Arc<str>,
}

/// One event of a provider's stream.
#[derive(Clone, Debug)]
pub struct Event {
    /// The event's name, where it has one.
    pub name: Option<Arc<str>>,
    /// Its data, byte for byte.
    pub data: Bytes,
}

/// A provider's stream. It ends after the endpoint's own last event; an upstream that breaks off earlier
/// is an error, the last item.
pub type Events = Pin<Box<dyn Stream<Item = Result<Event, Error>> + Send>>;

/// Who answers requests: an API elsewhere, or code of the embedder's.
pub trait Provider: Send + Sync + 'static {
    /// Sends a request and waits for the whole response, a JSON document.
    fn send(&self, call: Call) -> BoxFuture<'_, Result<Document, Error>>;

    /// Sends a request whose response streams; ready when the provider has accepted it. Dropping the
    /// stream closes the connection.
    fn stream(&self, call: Call) -> BoxFuture<'_, Result<Events, Error>>;

    /// Does it know `stream_options.include_usage` (rule S8)?
    fn stream_usage(&self) -> bool {
        true
    }
}
