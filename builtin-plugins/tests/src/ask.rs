//! A request that a test writes in one way, whether it streams or not, and for every kind of host.

use std::sync::Arc;

use http::{HeaderMap, HeaderName, HeaderValue};
use llmux_core::{Endpoint, Request, pipeline::Identity};
use serde_json::{Value, json};

/// A request to send.
#[derive(Clone)]
pub struct Ask {
    /// The body.
    pub body: Value,
    pub(crate) stream: bool,
    pub(crate) headers: HeaderMap,
    pub(crate) identity: Identity,
    pub(crate) fallbacks: Vec<Arc<str>>,
    pub(crate) endpoint: Endpoint,
}

/// Returns a request with the text `hello` to the model `m`.
pub fn ask(stream: bool) -> Ask {
    let body = json!({"model": "m", "messages": [{"role": "user", "content": "hello"}]});
    of(Endpoint::ChatCompletions, body, stream)
}

/// Returns a request with this body.
pub fn of(endpoint: Endpoint, body: Value, stream: bool) -> Ask {
    let (headers, identity) = (HeaderMap::new(), Identity::default());
    Ask { body, stream, headers, identity, fallbacks: Vec::new(), endpoint }
}

impl Ask {
    /// Sets the model.
    pub fn model(self, model: &str) -> Self {
        self.with("model", json!(model))
    }

    /// Sets a member of the body.
    pub fn with(mut self, member: &str, value: Value) -> Self {
        self.body[member] = value;
        self
    }

    /// Adds a header.
    pub fn header(mut self, name: &'static str, value: &str) -> Self {
        let value = HeaderValue::from_str(value).expect("a header's value");
        self.headers.insert(HeaderName::from_static(name), value);
        self
    }

    /// Sets the API key.
    pub fn key(mut self, id: &str) -> Self {
        self.identity.key_id = id.to_owned();
        self
    }

    /// Sets the user of the API key.
    pub fn user(mut self, user: &str) -> Self {
        self.identity.user = Some(user.to_owned());
        self
    }

    /// Adds a model to fall back to.
    pub fn fallback(mut self, model: &str) -> Self {
        self.fallbacks.push(model.into());
        self
    }

    /// Sets whether the request streams.
    pub fn streaming(mut self, stream: bool) -> Self {
        self.stream = stream;
        self
    }

    /// Returns the request for the client.
    ///
    /// # Panics
    ///
    /// If the body is not a request.
    pub fn request(self) -> Request {
        let named = self.identity != Identity::default();
        let request = Request::of(self.endpoint, &self.body).expect("a request");
        request
            .with_headers(self.headers)
            .with_identity(named.then(|| Arc::new(self.identity)))
            .with_fallbacks(self.fallbacks)
    }
}
