//! A request in flight: everything that its hooks may touch, owned by the request, so that no hook takes a lock.

use std::sync::{Arc, atomic::AtomicU64};

use http::{HeaderName, HeaderValue};
use llmux_abi::Usage;

use super::{
    beside::Beside,
    body::Body,
    collected::Collected,
    config::PipelineConfig,
    context::RequestContext,
    early_head::EarlyHead,
    head::Head,
    headers::Headers,
    report::{AnsweredBy, AttemptReport, Later},
    snapshot::Snapshot,
    states::States,
    waiting::Completions,
};
use crate::{
    cancel::Cancel,
    document::Document,
    error::{Error, ErrorKind},
    provider::{Answer, Binary, Event},
    upstream::{Lease, Upstream, UpstreamCall},
};

/// The parts that all requests of a client share.
pub(crate) struct Shared {
    pub(crate) config: Arc<PipelineConfig>,
    pub(crate) upstream: Arc<dyn Upstream>,
    pub(crate) completions: Arc<Completions>,
    /// Number of response headers that came after an early head, and were not sent (rule S7).
    pub(crate) dropped_headers: Arc<AtomicU64>,
}

/// The provider's answer that a hook beside the call kept back.
pub(crate) struct KeptBack {
    pub(super) status: u16,
    /// The whole answer.
    pub(super) answer: Option<Document>,
    /// The part of a stream that has arrived.
    pub(super) events: Vec<Event>,
}

/// A request in flight. It is boxed, because it moves into the tasks that end it.
pub(crate) struct InFlight {
    pub(crate) shared: Arc<Shared>,
    pub(crate) context: RequestContext,
    pub(crate) states: States,
    /// The id that the caller's own caller chose.
    pub(crate) client_request_id: Option<Arc<str>>,
    /// The caller's request, which never changes (rule P5).
    pub(crate) original: Document,
    /// This attempt's request, with the edits of the plugins.
    pub(crate) body: Body,
    /// The body that went to the provider, once one did.
    pub(crate) upstream_body: Option<Document>,
    /// The answer of bytes of this attempt.
    pub(crate) binary: Option<Binary>,
    /// The id of the deployment that has the stored response which the request is about.
    pub(crate) pinned: Option<Arc<str>>,
    /// Number of instances that had their turn in this attempt's pre chain.
    pub(crate) ran: usize,
    pub(crate) cancel: Cancel,
    /// The party that gave the outcome of this attempt.
    pub(crate) answered_by: AnsweredBy,
    /// The instance whose hook beside the call has refused this attempt (rule B3).
    pub(crate) refused_by: Option<Arc<str>>,
    /// The provider's answer to this attempt that a hook beside the call kept back.
    pub(crate) kept_back: Option<KeptBack>,
    /// The lease of the deployment whose answer this attempt reads.
    pub(crate) lease: Option<Lease>,
    /// The attempts so far that called a provider.
    pub(crate) attempts: Vec<AttemptReport>,
    /// The early head of a stream.
    pub(crate) early_head: EarlyHead,
    /// The models to try if this one fails.
    pub(crate) fallbacks: std::vec::IntoIter<Arc<str>>,
}

impl InFlight {
    /// Begins an attempt at the model that the context names, with fresh values, headers and body (rule F2).
    pub(super) fn begin_attempt(&mut self) {
        let mut document = self.original.clone();
        if self.context.attempt > 0
            && let Err(error) = document.set("/model", &serde_json::json!(&*self.context.model).to_string())
        {
            let request_id = &*self.context.request_id;
            tracing::error!(request_id, "a request without a model: {error}");
        }
        self.context.attempt += 1;
        self.context.collected = Collected::default();
        self.body = Body::new(document, self.shared.config.max_body_bytes);
        self.upstream_body = None;
        self.binary = None;
        self.ran = 0;
        self.answered_by = AnsweredBy::default();
        self.refused_by = None;
        self.kept_back = None;
        self.lease = None;
        // No provider has been called (rule X5).
        self.context.deployment = None;
        self.context.provider_headers = None;
    }

    /// Moves on to the next fallback model after an error. Returns false if there is none, or if the error allows none.
    pub(super) fn fall_back(&mut self, error: &Error) -> bool {
        let may_follow = self.shared.upstream.allows_fallback(error, self.context.started);
        if !may_follow || self.cancel.is_raised() {
            return false;
        }
        match self.fallbacks.next() {
            Some(model) => {
                tracing::info!(
                    request_id = &*self.context.request_id,
                    from = &*self.context.model,
                    to = &*model,
                    "falling back after {error}"
                );
                self.context.model = model;
                true
            }
            None => false,
        }
    }

    /// A hook of an instance ended the request: no fallback follows (rules T1 and B4).
    pub(super) fn end_by(&mut self, instance: Arc<str>) {
        self.answered_by = AnsweredBy::Instance { name: instance, cached: false };
        self.fallbacks = Vec::new().into_iter();
    }

    /// Takes the model over that a hook named (rule P6).
    pub(super) fn follow_model(&mut self) {
        let model = self.body.document().and_then(|document| document.get_str("/model"));
        if let Some(model) = model
            && *model != *self.context.model
        {
            self.context.model = model.into();
        }
    }

    /// Returns the content of an answer, and keeps the headers of the answer or of the error.
    pub(super) fn content_of<T>(&mut self, answer: Result<Answer<T>, Error>) -> Result<T, Error> {
        match answer {
            Ok(Answer { content, headers }) => {
                self.context.provider_headers = headers.map(Arc::from).map(Headers::Map);
                Ok(content)
            }
            Err(error) => {
                self.context.provider_headers = error.headers().cloned().map(Arc::new).map(Headers::Map);
                Err(error)
            }
        }
    }

    /// Returns the headers of the provider's answer that go back to the client; none if a plugin answered (rule F9).
    fn returned_headers(&self) -> Vec<(HeaderName, HeaderValue)> {
        let provider = self.context.deployment.as_ref().map(|deployment| &deployment.provider);
        let headers = self.context.provider_headers.as_ref().and_then(Headers::map);
        match (&self.answered_by, provider, headers) {
            (AnsweredBy::Host | AnsweredBy::Provider, Some(provider), Some(headers)) => {
                provider.returned_headers().of(headers)
            }
            _ => Vec::new(),
        }
    }

    /// Reports the answer of the provider, if this attempt called one.
    pub(super) fn report_attempt(&mut self, status: u16, usage: Option<Usage>, later: Option<Later>) {
        // A caller that left says nothing about the deployment.
        if let Some(lease) = self.lease.take().filter(|_| !self.cancel.is_raised()) {
            lease.end(status, &self.context.request_id);
        }
        let Some(deployment) = self.context.deployment.clone() else { return };
        let cancelled_by = self.refused_by.take();
        if matches!(self.answered_by, AnsweredBy::Host) && cancelled_by.is_none() {
            self.answered_by = AnsweredBy::Provider;
        }
        self.attempts.push(AttemptReport { deployment, status, usage, cancelled_by, later });
    }

    /// Returns the body that went to the provider.
    pub(super) fn upstream_body(&self) -> &Document {
        self.upstream_body.as_ref().unwrap_or(&self.original)
    }

    /// Returns the call of the provider, and the hooks beside it.
    pub(super) fn upstream_call<'c>(
        &'c mut self,
        snapshot: &'c Snapshot,
    ) -> Result<(UpstreamCall<'c>, Beside<'c>), Error> {
        let Self { context, client_request_id, body, upstream_body, cancel, lease, pinned, .. } = self;
        let body = body.document();
        let body = body.ok_or_else(|| Error::new(ErrorKind::InvalidRequest, "the request is not JSON"))?;
        let timeout = self.shared.config.pre_hook_timeout;
        let beside = Beside::new(snapshot, &mut self.states, context, body, timeout, cancel);
        let call = UpstreamCall {
            endpoint: context.endpoint,
            model: &context.model,
            body,
            request_id: client_request_id.as_ref().unwrap_or(&context.request_id),
            headers: context.collected.provider_headers(),
            client: context.identity.as_deref().map(|identity| &*identity.key_id),
            started: context.started,
            client_headers: context.headers.map().cloned().unwrap_or_default(),
            pinned: pinned.as_deref(),
            accepted: None,
            cancel,
            deployment: &mut context.deployment,
            lease,
            sent: upstream_body,
        };
        Ok((call, beside))
    }

    /// Returns the request as it was sent, or would be sent (rule Q4).
    pub(super) fn sent(&self) -> Document {
        let document = self.upstream_body.as_ref().or_else(|| self.body.document());
        document.unwrap_or(&self.original).clone()
    }

    pub(super) fn head(&self) -> Head {
        Head {
            headers: self.context.collected.response_headers().to_vec(),
            returned: self.returned_headers(),
            values: self.context.collected.values().to_vec(),
            attempts: self.context.attempt,
            deployment: self.context.deployment.as_ref().map(|deployment| deployment.id.clone()),
        }
    }
}
