//! A client with plugins and an upstream, and requests to it that read the same whether they stream or not.

use std::sync::Arc;

use http::{HeaderMap, HeaderName, HeaderValue};
use llmux_core::{
    Client, Endpoint, Error, PluginSpec, Request,
    pipeline::{Identity, Value as Shared},
    plugins::PluginsConfig,
};
use serde_json::{Value, json};

use crate::Upstream;

/// A client with plugins.
pub struct World {
    /// The client.
    pub client: Client,
    /// What it calls.
    pub upstream: Arc<Upstream>,
}

/// The models that the upstream serves.
const MODELS: [&str; 12] = [
    "m",
    "other",
    "gated",
    "gated-fail",
    "gated-fail-once",
    "fail",
    "fail-once",
    "cut",
    "hang",
    "long",
    "spare",
    "hang-once",
];

impl World {
    /// A client with these plugins.
    ///
    /// # Panics
    ///
    /// When one is refused.
    pub async fn new(plugins: impl IntoIterator<Item = PluginSpec>) -> Self {
        Self::build(plugins).await.unwrap_or_else(|why| panic!("{why}"))
    }

    /// The same, or why a plugin was refused.
    ///
    /// # Errors
    ///
    /// What the operator would read.
    pub async fn build(plugins: impl IntoIterator<Item = PluginSpec>) -> Result<Self, String> {
        let upstream = Upstream::new();
        let mut builder = Client::builder()
            .provider("p", upstream.clone(), MODELS)
            // The folder of a build may be open to a group; who may write there is not what is tested here.
            .plugins(PluginsConfig { allow_insecure_permissions: true, ..PluginsConfig::default() });
        for plugin in plugins {
            builder = builder.plugin(plugin);
        }
        let client = builder.build().await.map_err(|error| error.to_string())?;
        Ok(Self { client, upstream })
    }

    /// Sends a request, reads all of the answer, and waits until the plugins have been told of its end.
    pub async fn send(&self, ask: Ask) -> Answer {
        let answer = self.send_only(ask).await;
        self.settle().await;
        answer
    }

    /// The same, without the wait.
    pub async fn send_only(&self, ask: Ask) -> Answer {
        let stream = ask.stream;
        let request = ask.request();
        if !stream {
            let reply = self.client.send(request).await;
            return Answer {
                headers: headers(reply.headers()),
                hit: reply.value("cache_hit") == Some(&Shared::Boolean(true)),
                limited: reply.value("rate_limited") == Some(&Shared::Boolean(true)),
                limit_key: text(reply.value("limit_key")),
                cache_key: text(reply.value("cache_key")),
                attempts: reply.attempts(),
                bodies: reply
                    .result
                    .as_ref()
                    .map_or(Vec::new(), |body| vec![String::from_utf8_lossy(&body.to_bytes()).into_owned()]),
                error: reply.result.err(),
                stream,
            };
        }
        let reply = self.client.stream(request).await;
        let mut answer = Answer {
            headers: headers(reply.headers()),
            hit: reply.value("cache_hit") == Some(&Shared::Boolean(true)),
            limited: reply.value("rate_limited") == Some(&Shared::Boolean(true)),
            limit_key: text(reply.value("limit_key")),
            cache_key: text(reply.value("cache_key")),
            attempts: reply.attempts(),
            bodies: Vec::new(),
            error: None,
            stream,
        };
        match reply.result {
            Err(error) => answer.error = Some(error),
            Ok(mut chunks) => {
                while let Some(chunk) = chunks.next().await {
                    match chunk {
                        Ok(chunk) => {
                            answer.bodies.push(String::from_utf8_lossy(&chunk.data()).into_owned());
                        }
                        Err(error) => answer.error = Some(error),
                    }
                }
            }
        }
        answer
    }

    /// Waits until every task that can go on without time passing has gone on.
    pub async fn settle(&self) {
        for _ in 0..64 {
            tokio::task::yield_now().await;
        }
    }
}

fn headers(headers: &[(HeaderName, HeaderValue)]) -> Vec<(String, String)> {
    let text = |value: &HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    headers.iter().map(|(name, value)| (name.to_string(), text(value))).collect()
}

fn text(value: Option<&Shared>) -> Option<String> {
    match value? {
        Shared::String(text) => Some(text.to_string()),
        _ => None,
    }
}

/// A request to make.
#[derive(Clone)]
pub struct Ask {
    /// The body.
    pub body: Value,
    stream: bool,
    headers: HeaderMap,
    identity: Identity,
    fallbacks: Vec<Arc<str>>,
}

/// A request for `m` that asks `hello`.
pub fn ask(stream: bool) -> Ask {
    let body = json!({"model": "m", "messages": [{"role": "user", "content": "hello"}]});
    Ask { body, stream, headers: HeaderMap::new(), identity: Identity::default(), fallbacks: Vec::new() }
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
        let request = Request::of(Endpoint::ChatCompletions, &self.body).expect("a request");
        request
            .headers(self.headers)
            .identity(named.then(|| Arc::new(self.identity)))
            .fallbacks(self.fallbacks)
    }
}

/// What came of a request.
#[derive(Debug)]
pub struct Answer {
    /// The response, or the chunks.
    pub bodies: Vec<String>,
    /// The error, if there was one.
    pub error: Option<Error>,
    /// The values that the plugins left.
    pub hit: bool,
    /// Was it refused by the limit?
    pub limited: bool,
    /// Whose limit that was.
    pub limit_key: Option<String>,
    /// The key of the stored answer.
    pub cache_key: Option<String>,
    /// How many attempts it took.
    pub attempts: u32,
    headers: Vec<(String, String)>,
    stream: bool,
}

impl Answer {
    /// A header of the answer.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(there, _)| there == name).map(|(_, value)| value.as_str())
    }

    /// Did it end well?
    pub fn is_ok(&self) -> bool {
        self.error.is_none()
    }

    /// What the model said in it.
    pub fn text(&self) -> String {
        let place = if self.stream { "/choices/0/delta/content" } else { "/choices/0/message/content" };
        let said = |body: &String| {
            let body: Value = serde_json::from_str(body).ok()?;
            body.pointer(place)?.as_str().map(str::to_owned)
        };
        self.bodies.iter().filter_map(said).collect()
    }

    /// The error.
    ///
    /// # Panics
    ///
    /// When there is none.
    pub fn refusal(&self) -> &Error {
        self.error.as_ref().unwrap_or_else(|| panic!("not refused: {:?}", self.bodies))
    }
}
