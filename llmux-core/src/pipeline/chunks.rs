//! The origin of a stream's chunks: a provider, a response that a plugin gave, or a stream of a plugin's own.

use std::{sync::Arc, time::Duration};

use tokio::time::{Instant, timeout};

use super::{
    hook::{ChunkError, ChunkStream},
    upcoming::Upcoming,
};
use crate::{
    Endpoint,
    document::Document,
    error::{Error, ErrorKind},
    provider::Event,
};

/// The origin of a stream's chunks.
pub(super) enum Chunks {
    Provider(Upcoming),
    Response(std::vec::IntoIter<Event>),
    Plugin {
        stream: Box<dyn ChunkStream>,
        /// The instance and the request that the stream belongs to, for the log.
        instance: Arc<str>,
        request_id: Arc<str>,
    },
}

impl Chunks {
    /// Makes the chunks of a response.
    pub(super) fn of(response: &Document) -> Self {
        Chunks::Response(Self::events_of(response))
    }

    /// Returns the events of a response.
    pub(super) fn events_of(response: &Document) -> std::vec::IntoIter<Event> {
        let text = response.get("").unwrap_or("null");
        // A document is JSON already. A text that is nested too deeply becomes an empty stream.
        let chunks = llmux_abi::convert::to_chunk_texts(text).unwrap_or_default();
        let events: Vec<Event> = chunks.into_iter().map(Event::named).collect();
        events.into_iter()
    }

    /// Returns the next chunk; `None` at the end. `idle` bounds the wait for a plugin's own stream.
    pub(super) async fn next(&mut self, endpoint: Endpoint, idle: Duration) -> Option<Result<Event, Error>> {
        match self {
            Chunks::Provider(events) => events.next().await,
            Chunks::Response(events) => events.next().map(Ok),
            Chunks::Plugin { stream, instance, request_id } => match timeout(idle, stream.next()).await {
                Ok(Ok(Some(event))) if event.name.is_none() && !endpoint.ends_with_done() => {
                    Some(Ok(Event::named(String::from_utf8_lossy(&event.data).into_owned())))
                }
                Ok(Ok(event)) => event.map(Ok),
                Ok(Err(ChunkError::Ended(error))) => Some(Err(error)),
                Ok(Err(ChunkError::Failed(failure))) => {
                    tracing::warn!(
                        instance = &**instance,
                        failure = failure.kind.as_str(),
                        request_id = &**request_id,
                        "a plugin's stream failed: {}",
                        failure.message
                    );
                    Some(Err(Error::plugin_failure()))
                }
                Err(_) => Some(Err(too_slow())),
            },
        }
    }
}

/// The time in which the reader has received no chunk of a plugin's own stream.
pub(super) struct Idle {
    limit: Duration,
    chunks: u64,
    since: Option<Instant>,
}

impl Idle {
    pub(super) fn new(limit: Duration) -> Self {
        Self { limit, chunks: 0, since: None }
    }

    /// Returns the rest of the limit. `chunks` is the number of chunks that the reader has received.
    pub(super) fn left(&mut self, source: &Chunks, chunks: u64) -> Result<Duration, Error> {
        if !matches!(source, Chunks::Plugin { .. }) {
            return Ok(self.limit);
        }
        if chunks != self.chunks || self.since.is_none() {
            (self.chunks, self.since) = (chunks, Some(Instant::now()));
        }
        let idle = self.since.map(|since| since.elapsed()).unwrap_or_default();
        self.limit.checked_sub(idle).filter(|left| !left.is_zero()).ok_or_else(too_slow)
    }
}

/// The error of a plugin's own stream that leaves the reader without a chunk for too long.
fn too_slow() -> Error {
    Error::new(ErrorKind::Timeout, "the stream sent no chunk within its time limit")
}
