//! Streams that a plugin produces instead of the provider.

use std::{borrow::Cow, future::Future, pin::Pin};

use super::{error::Error, value::Value};

/// Produces the chunks of a stream, one at a time, for as long as the client reads. It outlives the hook that made
/// it, so it owns all its data. It is dropped when the stream ends or the client closes the connection.
///
/// ```
/// use std::time::Duration;
///
/// use llmux_abi::{prelude::*, types::text_chunk};
///
/// struct Ticks {
///     host: Host,
///     left: u32,
/// }
///
/// impl ChunkSource for Ticks {
///     async fn next(&mut self) -> Option<Result<serde_json::Value>> {
///         self.left = self.left.checked_sub(1)?;
///         self.host.sleep(Duration::from_secs(1)).await;
///         Some(Ok(text_chunk("tick ")))
///     }
/// }
/// ```
pub trait ChunkSource: Send + 'static {
    /// Returns the next chunk as JSON, or `None` at the end. An `Err` ends the stream with that error. A chunk that
    /// takes longer than the host's `stream_idle_timeout` (300 s by default) also ends the stream with an error.
    fn next(&mut self) -> impl Future<Output = Option<Result<serde_json::Value, Error>>> + Send;
}

/// A source of the chunks of a list, in order.
impl ChunkSource for std::vec::IntoIter<serde_json::Value> {
    async fn next(&mut self) -> Option<Result<serde_json::Value, Error>> {
        Iterator::next(self).map(Ok)
    }
}

/// A stream that the plugin produces instead of the provider.
pub struct Streamed {
    pub(crate) source: Box<dyn BoxedSource>,
    pub(crate) metadata: Vec<(Cow<'static, str>, Value)>,
    pub(crate) cached: bool,
}

impl Streamed {
    /// Returns a stream of the chunks of this source.
    pub fn new(source: impl ChunkSource) -> Self {
        Self::of(Box::new(source))
    }

    /// Returns a stream of these chunks.
    pub fn chunks(chunks: Vec<serde_json::Value>) -> Self {
        Self::new(chunks.into_iter())
    }

    /// Returns a stream of these events: the name (empty for none) and the data, JSON text that is sent byte for byte.
    /// For a cache or a recording.
    pub fn events<N, D>(events: impl IntoIterator<Item = (N, D), IntoIter: Send + 'static>) -> Self
    where
        N: Into<String>,
        D: Into<String>,
    {
        let events = events.into_iter().map(|(name, data)| (name.into(), data.into()));
        Self::of(Box::new(Events(events)))
    }

    fn of(source: Box<dyn BoxedSource>) -> Self {
        Self { source, metadata: Vec::new(), cached: false }
    }

    /// Sets whether this is a copy of an earlier answer, as [`ShortCircuit::with_cached`](crate::ShortCircuit::with_cached)
    /// does.
    pub fn with_cached(mut self, cached: bool) -> Self {
        self.cached = cached;
        self
    }

    /// Adds a value to the context for the hooks that follow.
    pub fn with_metadata(mut self, key: impl Into<Cow<'static, str>>, value: impl Into<Value>) -> Self {
        self.metadata.push((key.into(), value.into()));
        self
    }
}

/// The next event of a boxed source: its name, empty for none, and its data.
pub(crate) type NextEvent<'a> =
    Pin<Box<dyn Future<Output = Option<Result<(String, String), Error>>> + Send + 'a>>;

/// [`ChunkSource`] as a trait object, so that one type covers all sources.
pub(crate) trait BoxedSource: Send {
    fn next_event(&mut self) -> NextEvent<'_>;
}

impl<S: ChunkSource> BoxedSource for S {
    fn next_event(&mut self) -> NextEvent<'_> {
        Box::pin(async {
            let chunk = self.next().await?;
            Some(chunk.map(|chunk| (String::new(), chunk.to_string())))
        })
    }
}

/// A source of existing events.
struct Events<I>(I);

impl<I: Iterator<Item = (String, String)> + Send> BoxedSource for Events<I> {
    fn next_event(&mut self) -> NextEvent<'_> {
        Box::pin(std::future::ready(self.0.next().map(Ok)))
    }
}
