//! Providers: who answers a request. The trait, and the table of the types that a configuration can name.
//!
//! The client calls providers and the program looks their types up. Which provider serves which model, and what is
//! tried after a failure, is the client's.

use std::{fmt, pin::Pin, sync::Arc, time::Duration};

use bytes::Bytes;
use futures_util::{Stream, future::BoxFuture};

use crate::{Endpoint, document::Document, error::Error};

mod echo;
mod ending;
mod failure;
mod openai;
mod retry_after;
mod secret;
mod sse;

pub use echo::Echo;
pub use openai::{BuildError, OpenAi, OpenAiBuilder};
pub use secret::Secret;

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

/// What a configuration says about one provider. A type ignores what it has no use for, so that a provider can be
/// switched to `echo` and back by one word.
#[derive(Clone)]
pub struct ProviderSettings {
    /// The provider's name.
    pub name: String,
    /// Where it is, version included. `openai` takes OpenAI's own where there is none.
    pub base_url: Option<String>,
    /// Its key.
    pub api_key: Option<Secret>,
    /// More headers for every request.
    pub headers: Vec<(String, Secret)>,
    /// How long a connection may take to open.
    pub connect_timeout: Option<Duration>,
    /// How long a response that does not stream may take.
    pub timeout: Option<Duration>,
    /// How long a stream may be silent.
    pub idle_timeout: Option<Duration>,
    /// How long a response that does not stream may be, in bytes.
    pub max_response_bytes: Option<usize>,
    /// Does it know `stream_options.include_usage`?
    pub stream_usage: bool,
    /// How long `echo` waits before each chunk of a stream.
    pub chunk_delay: Option<Duration>,
}

impl ProviderSettings {
    /// A provider of which only the name is known; everything else is as the type has it by default.
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            base_url: None,
            api_key: None,
            headers: Vec::new(),
            connect_timeout: None,
            timeout: None,
            idle_timeout: None,
            max_response_bytes: None,
            stream_usage: true,
            chunk_delay: None,
        }
    }
}

impl fmt::Debug for ProviderSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProviderSettings")
            .field("name", &self.name)
            .field("base_url", &self.base_url.as_deref().map(secret::without_credentials))
            .field("api_key", &self.api_key)
            .field("headers", &self.headers)
            .finish_non_exhaustive()
    }
}

/// A type of provider that a configuration can name.
#[derive(Clone, Copy, Debug)]
pub struct ProviderType {
    /// Its name in the configuration.
    pub name: &'static str,
    /// What it is, in a sentence.
    pub about: &'static str,
    /// Makes one. The error is a sentence that names the provider and what is wrong, and shows no secret.
    pub build: fn(&ProviderSettings) -> Result<Arc<dyn Provider>, String>,
}

/// Every type. A new one is a file beside this one and a line here.
pub const TYPES: &[ProviderType] = &[
    ProviderType {
        name: "openai",
        about: "any OpenAI-compatible API over HTTP",
        build: openai::from_settings,
    },
    ProviderType {
        name: "echo",
        about: "answers offline with what it was asked",
        build: echo::from_settings,
    },
];

/// Makes TLS possible: reqwest is built without a choice of cryptography. Whoever chose before stays.
pub(crate) fn install_tls() {
    let _ = rustls::crypto::ring::default_provider().install_default();
}
