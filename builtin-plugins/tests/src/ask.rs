//! A request that reads the same whether it streams or not, and whatever it is sent to.

use std::sync::Arc;

use http::{HeaderMap, HeaderName, HeaderValue};
use llmux_core::{Endpoint, Request, pipeline::Identity};
use serde_json::{Value, json};

/// A request to make.
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

/// A request for `m` that asks `hello`.
pub fn ask(stream: bool) -> Ask {
    let body = json!({"model": "m", "messages": [{"role": "user", "content": "hello"}]});
    of(Endpoint::ChatCompletions, body, stream)
}

/// A request with this body.
pub fn of(endpoint: Endpoint, body: Value, stream: bool) -> Ask {
    let (headers, identity) = (HeaderMap::new(), Identity::default());
    Ask { body, stream, headers, identity, fallbacks: Vec::new(), endpoint }
}

impl Ask {
    /// For another model.
    pub fn model(self, model: &str) -> Self {
        self.with("model", json!(model))
    }

    /// With another member in the body.
    pub fn with(mut self, member: &str, value: Value) -> Self {
        self.body[member] = value;
        self
    }

    /// With a header.
    pub fn header(mut self, name: &'static str, value: &str) -> Self {
        let value = HeaderValue::from_str(value).expect("a header's value");
        self.headers.insert(HeaderName::from_static(name), value);
        self
    }

    /// With this API key.
    pub fn key(mut self, id: &str) -> Self {
        self.identity.key_id = id.to_owned();
        self
    }

    /// With a key of this user.
    pub fn user(mut self, user: &str) -> Self {
        self.identity.user = Some(user.to_owned());
        self
    }

    /// With these models to fall back to.
    pub fn fallback(mut self, model: &str) -> Self {
        self.fallbacks.push(model.into());
        self
    }

    /// As it is, or streaming.
    pub fn streaming(mut self, stream: bool) -> Self {
        self.stream = stream;
        self
    }

    /// What the client takes.
    ///
    /// # Panics
    ///
    /// When it is no request.
    pub fn request(self) -> Request {
        let named = self.identity != Identity::default();
        let request = Request::of(self.endpoint, &self.body).expect("a request");
        request
            .with_headers(self.headers)
            .with_identity(named.then(|| Arc::new(self.identity)))
            .with_fallbacks(self.fallbacks)
    }
}
