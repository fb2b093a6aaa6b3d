//! The report of how a request or a stream ended, for `post_stream_hook` and `on_complete`.

use std::{sync::Arc, time::Duration};

use llmux_abi::Usage;

use super::{body::Body, traffic::Traffic};
use crate::{
    document::Document,
    error::{Error, ErrorKind},
    provider::Events,
    upstream::Deployment,
};

/// The way in which a request or a stream ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    /// With a response, or at the end of the stream.
    Completed,
    /// With an error.
    Failed,
    /// The client went away.
    Cancelled,
}

/// The party that gave the outcome of an attempt.
#[derive(Debug, Default)]
pub(crate) enum AnsweredBy {
    /// The host, with an error of its own.
    #[default]
    Host,
    /// The provider that the attempt called.
    Provider,
    /// An instance, by a short circuit or in the place of the provider's answer.
    Instance {
        name: Arc<str>,
        /// True if it answered with a copy of an earlier answer.
        cached: bool,
    },
}

/// The report of an attempt that called a provider.
pub(crate) struct AttemptReport {
    /// The deployment that was called last.
    pub(crate) deployment: Arc<Deployment>,
    /// The status of its answer, or of the error in its place.
    pub(crate) status: u16,
    /// The usage that the provider reported, or an estimate. Plugins do not change it.
    pub(crate) usage: Option<Usage>,
    /// The instance whose hook beside the call has cancelled it (rule B4).
    pub(crate) cancelled_by: Option<Arc<str>>,
    /// The place where the usage is still to be read.
    pub(super) later: Option<Later>,
}

impl AttemptReport {
    /// The report of an attempt whose usage is known.
    pub(crate) fn new(
        deployment: Arc<Deployment>,
        status: u16,
        usage: Option<Usage>,
        cancelled_by: Option<Arc<str>>,
    ) -> Self {
        Self { deployment, status, usage, cancelled_by, later: None }
    }
}

/// A place where the usage of an attempt is read after the request, because its caller need not wait for it.
pub(super) enum Later {
    /// A whole answer, and the request that it answers.
    Answer(Document, Document),
    /// The rest of a stream that was left at its end, before it stated its usage.
    Stream(Events),
}

/// A report for the hooks at the end of a stream or a request.
pub(crate) struct Report {
    pub(crate) ending: Ending,
    pub(crate) status: u16,
    pub(crate) latency: Duration,
    pub(crate) first_chunk: Option<Duration>,
    pub(crate) chunks: Option<u64>,
    /// True if the provider ended its stream with `[DONE]` before every choice had a reason (rule S9).
    pub(crate) is_unfinished: bool,
    /// The usage of one attempt at the end of its stream, and of all attempts at the end of a request.
    pub(crate) usage: Option<Usage>,
    pub(crate) answered_by: AnsweredBy,
    /// The attempts that called a provider. Empty at the end of a stream.
    pub(crate) attempts: Vec<AttemptReport>,
    pub(crate) request: Body,
    pub(crate) response: Option<Body>,
    pub(crate) error: Option<Body>,
}

impl Report {
    /// Makes the report of a result, without the numbers of a stream and of the provider. A stream has no response.
    pub(crate) fn of(
        result: Result<Option<&Document>, &Error>,
        request: Document,
        latency: Duration,
    ) -> Self {
        let (ending, status) = match &result {
            Ok(_) => (Ending::Completed, 200),
            Err(error) if error.kind() == ErrorKind::Cancelled => (Ending::Cancelled, error.status()),
            Err(error) => (Ending::Failed, error.status()),
        };
        Self {
            ending,
            status,
            latency,
            first_chunk: None,
            chunks: None,
            is_unfinished: false,
            usage: None,
            answered_by: AnsweredBy::default(),
            attempts: Vec::new(),
            request: Body::read_only(request),
            response: result.ok().flatten().map(|response| Body::read_only(response.clone())),
            error: result.err().map(|error| Body::read_only(error.document().clone())),
        }
    }

    /// Returns at least the size of the bodies, in bytes.
    pub(super) fn size(&self) -> usize {
        let bodies = [Some(&self.request), self.response.as_ref(), self.error.as_ref()];
        bodies.into_iter().flatten().filter_map(Body::document).map(Document::size).sum()
    }

    /// Returns the bytes that the current call has read, and starts counting again.
    pub(crate) fn take_traffic(&mut self) -> Traffic {
        let mut traffic = self.request.take_traffic();
        for body in [&mut self.response, &mut self.error].into_iter().flatten() {
            traffic += body.take_traffic();
        }
        traffic
    }
}
