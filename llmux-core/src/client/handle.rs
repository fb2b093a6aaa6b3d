//! The handle of a client: sends requests, and gives access to the plugins.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use arc_swap::ArcSwap;
use tokio::sync::mpsc;

use super::{
    reply::{Reply, StreamReply},
    request::Request,
    settings::Settings,
    stream::ReplyStream,
};
use crate::{
    Endpoint,
    cancel::Cancel,
    document::Document,
    error::{Error, ErrorKind},
    metrics::Metrics,
    pipeline::{
        self, Ended, Head, InFlight, States, StreamItem, body::Body, context::RequestContext,
        detached::Detached, early_head::EarlyHead, headers::Headers, report::AnsweredBy, snapshot::Snapshot,
    },
    plugins::{Registry, ShutdownReport},
    upstream::DeploymentInfo,
};

/// A client for language models, with a pipeline of plugins around every call. Cheap to clone.
#[derive(Clone)]
pub struct Client {
    pub(super) settings: Arc<ArcSwap<Settings>>,
    pub(super) plugins: Arc<Registry>,
    pub(super) metrics: Arc<Metrics>,
}

impl Client {
    /// Sends a chat request (`/v1/chat/completions`). The body is a `serde_json::Value`, a struct, or anything that serde
    /// writes.
    ///
    /// # Errors
    ///
    /// The error of the provider, of a plugin or of this client.
    pub async fn chat(&self, body: &impl serde::Serialize) -> Result<Document, Error> {
        self.send(Request::of(Endpoint::ChatCompletions, body)?).await.result
    }

    /// Sends a chat request whose answer streams. This function sets `stream: true`.
    ///
    /// # Errors
    ///
    /// The error that came instead of the first chunk.
    pub async fn chat_stream(&self, body: &impl serde::Serialize) -> Result<ReplyStream, Error> {
        self.stream(Request::of(Endpoint::ChatCompletions, body)?).await.result
    }

    /// Sends a request for embeddings (`/v1/embeddings`).
    ///
    /// # Errors
    ///
    /// The errors of [`chat`](Self::chat).
    pub async fn embeddings(&self, body: &impl serde::Serialize) -> Result<Document, Error> {
        self.send(Request::of(Endpoint::Embeddings, body)?).await.result
    }

    /// Sends any request and waits for the whole response. It must be awaited inside a tokio runtime. If the caller drops
    /// the future, the post hooks see the error `cancelled`, and the request ends in a task of its own.
    pub async fn send(&self, mut request: Request) -> Reply {
        if let Err(error) = request.set_stream(false) {
            return Reply::new(Err(error), Head::default());
        }
        match self.enter(request, false).await {
            Ok((in_flight, snapshot)) => {
                let cancel = in_flight.cancel.clone();
                let over = snapshot.over.clone();
                let Ended { head, result, binary } =
                    Detached::new(cancel, over, pipeline::run(in_flight, snapshot)).await;
                Reply::new(result, head).with_binary(binary)
            }
            Err(error) => Reply::new(Err(error), Head::default()),
        }
    }

    /// Sends any request whose answer streams; ready when the first chunk is there. If the caller drops the stream, the
    /// connection to the provider is closed, and the hooks at the end of the stream see `cancelled`.
    pub async fn stream(&self, mut request: Request) -> StreamReply {
        if let Err(error) = request.set_stream(true) {
            return StreamReply::new(Err(error), Head::default());
        }
        let (in_flight, snapshot) = match self.enter(request, true).await {
            Ok(entered) => entered,
            Err(error) => return StreamReply::new(Err(error), Head::default()),
        };
        let (cancel, over) = (in_flight.cancel.clone(), snapshot.over.clone());
        // A few places: a slow reader slows the upstream (rule S6).
        let (reader, chunks) = mpsc::channel(8);
        let driver = Detached::new(cancel, over, pipeline::run_stream(in_flight, snapshot, reader));
        let mut stream = ReplyStream::new(driver, chunks);
        match stream.first().await {
            Some(StreamItem::Start(head)) => StreamReply::new(Ok(stream), head),
            Some(StreamItem::Failed(head, error)) => StreamReply::new(Err(error), head),
            Some(StreamItem::Chunk(_)) | None => {
                let error = Error::new(ErrorKind::BadGateway, "the stream ended before it began");
                StreamReply::new(Err(error), Head::default())
            }
        }
    }

    async fn enter(&self, request: Request, streams: bool) -> Result<(Box<InFlight>, Arc<Snapshot>), Error> {
        let snapshot = self.plugins.enter().await?;
        let settings = self.settings.load();
        let shared = settings.shared.clone();
        let limit = shared.config.max_body_bytes;
        let Request {
            endpoint,
            body,
            headers,
            identity,
            fallbacks,
            request_id,
            client_request_id,
            client,
            deployment,
            early_head: (after, silence),
        } = request;
        if body.size() > limit {
            return Err(Error::request_too_large(limit));
        }
        let model = body.get_str("/model").unwrap_or_default();
        let configured = || settings.fallbacks.get(model).cloned().unwrap_or_default();
        let fallbacks = match (&deployment, fallbacks.is_empty()) {
            // No other model has the stored response.
            (Some(_), _) => Vec::new(),
            (None, true) => configured(),
            (None, false) => fallbacks,
        };
        let model = model.into();
        let request_id = request_id.unwrap_or_else(|| uuid::Uuid::now_v7().to_string().into());
        let in_flight = Box::new(InFlight {
            context: RequestContext::new(
                endpoint,
                streams,
                model,
                request_id,
                identity,
                Headers::Map(headers),
                client,
            ),
            states: States::new(snapshot.clone()),
            body: Body::new(body.clone(), limit),
            original: body,
            client_request_id,
            upstream_body: None,
            binary: None,
            pinned: deployment,
            early_head: EarlyHead::new(after, silence),
            ran: 0,
            cancel: Cancel::default(),
            answered_by: AnsweredBy::default(),
            refused_by: None,
            kept_back: None,
            lease: None,
            attempts: Vec::new(),
            fallbacks: fallbacks.into_iter(),
            shared,
        });
        Ok((in_flight, snapshot))
    }

    /// Returns the plugins, to list and to change.
    pub fn plugins(&self) -> &Arc<Registry> {
        &self.plugins
    }

    /// Returns every model that is served, with its providers, in the order of the configuration.
    pub fn models(&self) -> Vec<(String, Vec<String>)> {
        let settings = self.settings.load();
        let models = settings.router.deployments.models();
        models.map(|(model, providers)| (model.to_owned(), providers.map(str::to_owned).collect())).collect()
    }

    /// Returns every model that is served, as [`models`](Self::models) does, and then those that are listed by providers of
    /// every model (`*`, rule F10). Asks these providers if their lists are missing or older than five minutes.
    pub async fn listed_models(&self) -> Vec<(String, Vec<String>)> {
        let router = self.settings.load().router.clone();
        let mut models = self.models();
        for (model, provider) in router.listed().await {
            match models.iter_mut().find(|(known, _)| *known == model) {
                Some((_, providers)) => providers.push(provider.to_string()),
                None => models.push((model, vec![provider.to_string()])),
            }
        }
        models
    }

    /// Returns true if a provider serves every model (`*`).
    pub fn serves_any_model(&self) -> bool {
        self.settings.load().router.serves_any()
    }

    /// Returns every deployment with its state and its figures, in the order of the configuration.
    pub fn deployments(&self) -> Vec<DeploymentInfo> {
        self.settings.load().router.infos()
    }

    /// Returns the model that a deployment (`provider/model`) serves, for requests about a response that is stored there;
    /// `None` if the deployment is gone. `*` for a provider of every model (rule F10) without a list.
    pub fn model_of(&self, deployment: &str) -> Option<String> {
        self.settings.load().router.model_of(deployment)
    }

    /// Returns true if the provider of a deployment also serves this model.
    pub fn serves_beside(&self, deployment: &str, model: &str) -> bool {
        self.settings.load().router.serves_beside(deployment, model)
    }

    /// Returns the largest body of a request, in bytes.
    pub fn max_body_bytes(&self) -> usize {
        self.settings.load().shared.config.max_body_bytes
    }

    /// Returns every metric, in the text format of Prometheus.
    pub fn render_metrics(&self) -> String {
        let settings = self.settings.load();
        let mut families = crate::plugins::metrics::families(
            &self.plugins.list(),
            self.plugins.retired(),
            self.plugins.refused(),
            settings.shared.completions.dropped.load(Ordering::Relaxed),
            settings.shared.dropped_headers.load(Ordering::Relaxed),
        );
        families.extend(settings.router.metrics());
        self.metrics.render(families)
    }

    /// Returns true if no request is in flight, completions included.
    pub fn is_idle(&self) -> bool {
        // Every request holds the snapshot that it entered with. Two more holders are this function and the registry.
        Arc::strong_count(&self.plugins.snapshot()) <= 2
    }

    /// Refuses new requests, waits at most `drain` for those in flight, and cleans up every plugin.
    pub async fn shutdown(&self, drain: Duration) -> ShutdownReport {
        self.plugins.shutdown(drain).await
    }
}
