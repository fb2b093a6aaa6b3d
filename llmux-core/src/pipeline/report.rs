//! The report of how a request or a stream ended, for `post_stream_hook` and `on_complete`.

use std::time::Duration;

use llmux_abi::Usage;
use serde_json::Value;

use super::{body::Body, traffic::Traffic};
use crate::{
    document::Document,
    error::{Error, ErrorKind},
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

/// A report for the hooks at the end of a stream or a request.
pub(crate) struct Report {
    pub(crate) ending: Ending,
    pub(crate) status: u16,
    pub(crate) latency: Duration,
    pub(crate) first_chunk: Option<Duration>,
    pub(crate) chunks: Option<u64>,
    pub(crate) usage: Option<Usage>,
    pub(crate) request: Body,
    pub(crate) response: Option<Body>,
    pub(crate) error: Option<Body>,
}

impl Report {
    /// Makes the report of a result, without the numbers of a stream. A stream has no response.
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
            usage: result.ok().flatten().and_then(usage_of),
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

/// Returns the usage that a response or chunk states, by the names of either API.
pub(crate) fn usage_of(document: &Document) -> Option<Usage> {
    let text = document.get("/usage").or_else(|| document.get("/response/usage"))?;
    let stated: Value = serde_json::from_str(text).ok()?;
    let tokens = |names: [&str; 2]| names.iter().find_map(|name| stated[name].as_u64());
    let prompt_tokens = tokens(["prompt_tokens", "input_tokens"]);
    let completion_tokens = tokens(["completion_tokens", "output_tokens"]);
    prompt_tokens.or(completion_tokens)?;
    let mut usage = Usage::new(prompt_tokens.unwrap_or(0), completion_tokens.unwrap_or(0));
    if let Some(total) = stated["total_tokens"].as_u64() {
        usage.total_tokens = total;
    }
    Some(usage)
}
