//! The client: what an embedder calls. Takes a request, gives it a snapshot of the pipeline, and runs it.
//!
//! `routing` knows which deployments serve a model, `upstream` calls one and tries again; `pipeline` is all
//! that happens around that call.

mod builder;
mod request;
pub(crate) mod routing;
mod stream;
pub(crate) mod upstream;

use std::{
    collections::HashMap,
    sync::{Arc, atomic::Ordering},
};

use arc_swap::ArcSwap;
use http::{HeaderName, HeaderValue};
use tokio::sync::mpsc;

pub use builder::{BuildError, ClientBuilder};
pub use request::Request;
pub use stream::ReplyStream;
pub use upstream::RetryConfig;

use self::routing::{Deployment, Routes};
use crate::{
    Endpoint,
    document::Document,
    error::{Error, ErrorKind},
    metrics::Metrics,
    pipeline::{
        self, Head, InFlight, Sent, Shared, Value,
        body::Body,
        context::RequestContext,
        detached::{Cancel, Detached},
        snapshot::Snapshot,
    },
    plugins::{Registry, ShutdownReport},
};

/// Where requests go.
#[derive(Debug, Default)]
pub(crate) struct Upstreams {
    pub(crate) routes: Routes,
    pub(crate) retry: RetryConfig,
    /// The models to try when another fails, by its name (rule F2).
    pub(crate) fallbacks: HashMap<Arc<str>, Vec<Arc<str>>>,
}

impl Upstreams {
    pub(crate) fn route(&self, model: &str) -> Option<&[Arc<Deployment>]> {
        self.routes.route(model)
    }
}

/// A client for language models, with a pipeline of plugins around every call. Cheap to clone.
#[derive(Clone)]
pub struct Client {
    shared: Arc<ArcSwap<Shared>>,
    plugins: Arc<Registry>,
    metrics: Arc<Metrics>,
}

/// What came of a request that does not stream.
#[derive(Debug)]
pub struct Reply {
    /// The response, or the error.
    pub result: Result<Document, Error>,
    head: Head,
}

/// What came of a request that streams: its chunks, or the error before the first of them.
pub struct StreamReply {
    /// The chunks, or the error.
    pub result: Result<ReplyStream, Error>,
    head: Head,
}

macro_rules! head {
    ($reply:ty) => {
        impl $reply {
            /// The headers that plugins set for the client.
            pub fn headers(&self) -> &[(HeaderName, HeaderValue)] {
                &self.head.headers
            }

            /// A value that plugins left in the context of the last attempt.
            pub fn value(&self, key: &str) -> Option<&Value> {
                self.head.values.iter().find(|(name, _)| &**name == key).map(|(_, value)| value)
            }

            /// Every value that plugins left in the context of the last attempt, in the order they came.
            pub fn values(&self) -> impl Iterator<Item = (&str, &Value)> {
                self.head.values.iter().map(|(name, value)| (&**name, value))
            }

            /// How many attempts it took: one, and one for each fallback.
            pub fn attempts(&self) -> u32 {
                self.head.attempts
            }

            /// The deployment chosen last, as `provider/model`.
            pub fn deployment(&self) -> Option<&str> {
                self.head.deployment.as_deref()
            }
        }
    };
}

head!(Reply);
head!(StreamReply);

impl Client {
    /// A builder.
    pub fn builder() -> ClientBuilder {
        ClientBuilder::default()
    }

    /// A chat request (`/v1/chat/completions`): a `serde_json::Value`, a struct, anything that serde writes.
    ///
    /// # Errors
    ///
    /// What the provider, a plugin or this client answered instead of a response.
    pub async fn chat(&self, body: &impl serde::Serialize) -> Result<Document, Error> {
        self.send(Request::of(Endpoint::ChatCompletions, body)?).await.result
    }

    /// A chat request whose answer streams; `stream: true` is set here.
    ///
    /// # Errors
    ///
    /// What came in the place of the first chunk.
    pub async fn chat_stream(&self, body: &impl serde::Serialize) -> Result<ReplyStream, Error> {
        self.stream(Request::of(Endpoint::ChatCompletions, body)?).await.result
    }

    /// A request for embeddings (`/v1/embeddings`).
    ///
    /// # Errors
    ///
    /// As [`chat`](Self::chat).
    pub async fn embeddings(&self, body: &impl serde::Serialize) -> Result<Document, Error> {
        self.send(Request::of(Endpoint::Embeddings, body)?).await.result
    }

    /// Any request, waiting for the whole response. Must be awaited inside a tokio runtime; if the caller
    /// drops it, the post hooks are told `cancelled` and the request ends behind its back.
    pub async fn send(&self, mut request: Request) -> Reply {
        if let Err(error) = request.set_stream(false) {
            return Reply { result: Err(error), head: Head::default() };
        }
        match self.enter(request, false) {
            Ok((in_flight, snapshot)) => {
                let cancel = in_flight.cancel.clone();
                let (head, result) = Detached::new(cancel, pipeline::run(in_flight, snapshot)).await;
                Reply { result, head }
            }
            Err(error) => Reply { result: Err(error), head: Head::default() },
        }
    }

    /// Any request whose answer streams: ready when the first chunk is there. Dropping the stream closes the
    /// upstream's connection and tells the plugins.
    pub async fn stream(&self, mut request: Request) -> StreamReply {
        let entered = request.set_stream(true).and_then(|()| self.enter(request, true));
        let (in_flight, snapshot) = match entered {
            Ok(entered) => entered,
            Err(error) => return StreamReply { result: Err(error), head: Head::default() },
        };
        let cancel = in_flight.cancel.clone();
        // A few places: a reader that is slow slows the upstream (rule S6).
        let (reader, chunks) = mpsc::channel(8);
        let driver = Detached::new(cancel, pipeline::run_stream(in_flight, snapshot, reader));
        let mut stream = ReplyStream::new(driver, chunks);
        match stream.first().await {
            Some(Sent::Start(head)) => StreamReply { result: Ok(stream), head },
            Some(Sent::Failed(head, error)) => StreamReply { result: Err(error), head },
            Some(Sent::Chunk(_)) | None => {
                let error = Error::new(ErrorKind::BadGateway, "the stream ended before it began");
                StreamReply { result: Err(error), head: Head::default() }
            }
        }
    }

    pub(crate) fn enter(&self, request: Request, streams: bool) -> Result<(InFlight, Arc<Snapshot>), Error> {
        let snapshot = self.plugins.snapshot();
        if snapshot.closed {
            return Err(Error::shutting_down());
        }
        let shared = self.shared.load_full();
        let limit = shared.config.max_body_bytes;
        let Request { endpoint, body, headers, identity, fallbacks, request_id } = request;
        if body.size() > limit {
            return Err(Error::request_too_large(limit));
        }
        let model = body.get_str("/model").unwrap_or_default();
        let configured = || shared.upstreams.fallbacks.get(model).cloned().unwrap_or_default();
        let fallbacks = if fallbacks.is_empty() { configured() } else { fallbacks };
        let model = model.into();
        let request_id = request_id.unwrap_or_else(|| uuid::Uuid::now_v7().to_string().into());
        let in_flight = InFlight {
            context: RequestContext::new(endpoint, streams, model, request_id, identity, headers, &snapshot),
            body: Body::new(body.clone(), limit),
            original: body,
            upstream_body: None,
            ran: 0,
            cancel: Cancel::default(),
            fallbacks: fallbacks.into_iter(),
            shared,
        };
        Ok((in_flight, snapshot))
    }

    /// The plugins, to list and to change.
    pub fn plugins(&self) -> &Arc<Registry> {
        &self.plugins
    }

    /// Takes over the providers, models, fallbacks, retries and pipeline settings of a builder, for requests that
    /// enter from here on. Its plugins are left alone: those are changed through [`plugins`](Self::plugins).
    pub fn reconfigure(&self, builder: ClientBuilder) {
        let completions = self.shared.load().completions.clone();
        let ClientBuilder { upstreams, pipeline: config, .. } = builder;
        self.plugins.set_cleanup_timeout(config.post_hook_timeout);
        self.shared.store(Arc::new(Shared { config, upstreams, completions }));
    }

    /// Every model that is served, with the providers that serve it, in the order of the configuration.
    pub fn models(&self) -> Vec<(String, Vec<String>)> {
        let shared = self.shared.load();
        let models = shared.upstreams.routes.models();
        models.map(|(model, providers)| (model.to_owned(), providers.map(str::to_owned).collect())).collect()
    }

    /// The largest body of a request, in bytes.
    pub fn max_body_bytes(&self) -> usize {
        self.shared.load().config.max_body_bytes
    }

    /// Every metric, in Prometheus' text format.
    pub fn render_metrics(&self) -> String {
        let dropped = self.shared.load().completions.dropped.load(Ordering::Relaxed);
        self.metrics.render(crate::plugins::metrics::families(
            &self.plugins.list(),
            self.plugins.retired(),
            self.plugins.refused(),
            dropped,
        ))
    }

    /// Refuses new requests, waits for those under way (at most `drain`), and cleans every plugin up.
    pub async fn shutdown(&self, drain: std::time::Duration) -> ShutdownReport {
        self.plugins.shutdown(drain).await
    }
}
