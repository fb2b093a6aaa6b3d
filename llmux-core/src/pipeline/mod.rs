//! The pipeline: the whole way of a request.
//!
//! ```text
//! client ──► run ──► attempt: pre chain ──► provider ──► post chain ──► reply
//!             │        └── short circuit ─────────────────▲
//!             ├── the next fallback, if it failed
//!             └── complete: every instance is told, behind the caller's back
//! ```
//!
//! Called by `client`. A request takes one `Snapshot` and keeps it; it owns everything that its hooks may
//! touch, so nothing here takes a lock. It runs in its caller's task, and to its end even if the caller
//! leaves (`detached`). Deliberately absent: how an instance is called (`hook::Hooks` is the only door),
//! how a provider is reached (`client::upstream`), and HTTP.

pub(crate) mod body;
mod call;
pub(crate) mod chain;
mod clock;
mod config;
pub(crate) mod context;
pub(crate) mod detached;
pub(crate) mod hook;
pub(crate) mod outcome;
pub(crate) mod snapshot;
pub(crate) mod stats;
mod stream;

use std::sync::{
    Arc,
    atomic::{AtomicU64, AtomicUsize, Ordering},
};

use http::{HeaderName, HeaderValue};
use tokio::sync::mpsc;

pub use body::Chunk;
pub use config::PipelineConfig;
pub use context::{Identity, Value, is_reserved_header};
pub use hook::HookKind;
pub use outcome::{Ending, Usage};
pub use stats::HookCounts;
pub(crate) use stream::Sent;

use self::{
    body::Body,
    call::Calls,
    chain::{Answered, Entered},
    context::{Collected, RequestContext},
    detached::Cancel,
    hook::Subject,
    outcome::Report,
    snapshot::Snapshot,
};
use crate::{
    boundary::StateSlot,
    client::{Upstreams, upstream},
    document::Document,
    error::{Error, ErrorKind},
};

/// What all requests of a client share.
pub(crate) struct Shared {
    pub(crate) config: PipelineConfig,
    pub(crate) upstreams: Upstreams,
    pub(crate) completions: Arc<Completions>,
}

/// The requests that wait for their `on_complete` hooks.
#[derive(Default)]
pub(crate) struct Completions {
    waiting: AtomicUsize,
    pub(crate) dropped: AtomicU64,
}

/// A request under way.
pub(crate) struct InFlight {
    pub(crate) shared: Arc<Shared>,
    pub(crate) context: RequestContext,
    /// The caller's request, never changed (rule P5).
    pub(crate) original: Document,
    /// This attempt's request, as the plugins made it.
    pub(crate) body: Body,
    /// What went to the provider, once something did.
    pub(crate) upstream_body: Option<Document>,
    /// How many instances had their turn in this attempt's pre chain.
    pub(crate) ran: usize,
    pub(crate) cancel: Cancel,
    /// The models to try if this one fails.
    pub(crate) fallbacks: std::vec::IntoIter<Arc<str>>,
}

/// What goes along with an answer.
#[derive(Clone, Debug, Default)]
pub(crate) struct Head {
    pub(crate) headers: Vec<(HeaderName, HeaderValue)>,
    pub(crate) values: Vec<(Arc<str>, Value)>,
    pub(crate) attempts: u32,
    pub(crate) deployment: Option<Arc<str>>,
}

/// A request that does not stream, from beginning to end.
pub(crate) async fn run(mut request: InFlight, snapshot: Arc<Snapshot>) -> (Head, Result<Document, Error>) {
    loop {
        request.begin_attempt();
        let (result, may_fall_back) = attempt(&mut request, &snapshot).await;
        match result {
            Err(error) if may_fall_back && request.fall_back(&error) => {}
            result => {
                let head = request.head();
                let outcome = result.as_ref().map(Some);
                let report = Report::of(outcome, request.sent(), request.context.started.elapsed());
                request.complete(snapshot, report);
                return (head, result);
            }
        }
    }
}

/// One attempt: pre chain, provider, post chain.
async fn attempt(request: &mut InFlight, snapshot: &Snapshot) -> (Result<Document, Error>, bool) {
    let mut may_fall_back = true;
    let result = match chain::pre(request, snapshot, HookKind::Pre).await {
        Entered::Through => upstream::send(request).await,
        Entered::Answered(Answered::Response(response)) => Ok(response),
        Entered::Answered(Answered::Error(error, allow_fallback)) => {
            may_fall_back = allow_fallback;
            Err(error)
        }
        // Never made for a request that does not stream.
        Entered::Answered(Answered::Stream(_)) => Err(chain::plugin_failure()),
        Entered::Ended(error) => Err(error),
    };
    // A caller who left before the first post hook has not seen the answer (rule Q3).
    let result = if request.cancel.is_cancelled() { Err(chain::cancelled()) } else { result };
    (chain::post(request, snapshot, result).await, may_fall_back)
}

/// A request that streams, from beginning to end. What the client gets goes to the reader.
pub(crate) async fn run_stream(mut request: InFlight, snapshot: Arc<Snapshot>, reader: mpsc::Sender<Sent>) {
    loop {
        request.begin_attempt();
        let attempt = stream::attempt(&mut request, &snapshot, &reader).await;
        match &attempt.result {
            Err(error) if attempt.may_fall_back && !attempt.begun && request.fall_back(error) => continue,
            Err(error) => {
                let last = Sent::Failed(request.head(), error.clone());
                let _ = request.cancel.guard(reader.send(last)).await;
            }
            Ok(()) => {}
        }
        let outcome = attempt.result.as_ref().map(|()| None);
        let report = Report::of(outcome, request.sent(), request.context.started.elapsed());
        return request.complete(snapshot, attempt.describe(report));
    }
}

/// The chains alone, for benchmarks and for those who try a plugin out.
#[cfg(feature = "testing")]
pub(crate) mod bench {
    use super::*;

    pub(crate) async fn round(
        request: &mut InFlight,
        snapshot: &Snapshot,
        response: Document,
    ) -> Result<Document, Error> {
        // Each round is a first attempt: a plugin may do less at a later one.
        request.context.attempt = 0;
        request.begin_attempt();
        let result = match chain::pre(request, snapshot, HookKind::Pre).await {
            Entered::Through => Ok(response),
            Entered::Answered(Answered::Response(response)) => Ok(response),
            Entered::Answered(Answered::Error(error, _)) | Entered::Ended(error) => Err(error),
            Entered::Answered(Answered::Stream(_)) => Err(chain::plugin_failure()),
        };
        chain::post(request, snapshot, result).await
    }

    pub(crate) use super::stream::through;
}

impl InFlight {
    /// A fresh attempt at the model that the context names: values, headers and body anew (rule F2).
    fn begin_attempt(&mut self) {
        let mut document = self.original.clone();
        if self.context.attempt > 0
            && let Err(error) = document.set("/model", &serde_json::json!(&*self.context.model).to_string())
        {
            tracing::error!("a request without a model: {error}");
        }
        self.context.attempt += 1;
        self.context.collected = Collected::default();
        self.body = Body::new(document, self.shared.config.max_body_bytes);
        self.upstream_body = None;
        self.ran = 0;
        self.resolve();
    }

    /// May another attempt follow this error, and is there a model for it? Then it is the context's model.
    fn fall_back(&mut self, error: &Error) -> bool {
        if matches!(error.kind(), ErrorKind::PluginFailure | ErrorKind::Cancelled) {
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

    /// Resolves the route again if a hook asked for another model (rule P6).
    pub(crate) fn follow_model(&mut self) {
        let model = self.body.document().and_then(|document| document.get_str("/model"));
        if let Some(model) = model
            && *model != *self.context.model
        {
            self.context.model = model.into();
            self.resolve();
        }
    }

    fn resolve(&mut self) {
        let route = self.shared.upstreams.route(&self.context.model);
        self.context.deployment = route.and_then(|route| route.first().cloned());
    }

    /// The request as it was sent, or would be (rule Q4).
    pub(crate) fn sent(&self) -> Document {
        let document = self.upstream_body.as_ref().or_else(|| self.body.document());
        document.unwrap_or(&self.original).clone()
    }

    pub(crate) fn head(&self) -> Head {
        Head {
            headers: self.context.collected.response_headers().to_vec(),
            values: self.context.collected.values().to_vec(),
            attempts: self.context.attempt,
            deployment: self.context.deployment.as_ref().map(|deployment| deployment.id.clone()),
        }
    }

    /// Tells every instance how the request ended, in a task of its own (rule C1).
    fn complete(mut self, snapshot: Arc<Snapshot>, mut report: Report) {
        let all = snapshot.entries.len();
        let is_awaited = snapshot.with(HookKind::Complete, all).next().is_some();
        // Dropping a state is the plugin's code too, and not for the caller to wait for.
        if !is_awaited && self.context.states.iter().all(StateSlot::is_empty) {
            return;
        }
        let shared = self.shared.clone();
        let completions = &shared.completions;
        if completions.waiting.fetch_add(1, Ordering::Relaxed) >= shared.config.max_waiting_completions {
            completions.waiting.fetch_sub(1, Ordering::Relaxed);
            if completions.dropped.fetch_add(1, Ordering::Relaxed) == 0 {
                tracing::warn!(
                    "too many requests wait for their on_complete hooks; some are dropped, and counted"
                );
            }
            return;
        }
        tokio::spawn(async move {
            let mut calls = Calls::new(self.shared.config.post_hook_timeout);
            self.context.read_only = true;
            for (at, entry) in snapshot.with(HookKind::Complete, all).rev() {
                let subject = Subject::Complete(&mut report);
                // A failure is logged and counted there; there is nobody left to tell.
                let _ = calls.call(entry, at, &mut self.context, subject).await;
            }
            self.shared.completions.waiting.fetch_sub(1, Ordering::Relaxed);
        });
    }
}
