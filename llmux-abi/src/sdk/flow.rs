//! What a hook returns: how the request goes on.

use std::{borrow::Cow, future::Future, pin::Pin};

use serde::Serialize;

use super::{context::Value, error::Error, handle::Answer, host::Host};
use crate::raw::flow::{HOOK_CONTINUE, HOOK_DROP, HOOK_END, HOOK_FAILED, HOOK_REPLACE, HOOK_SHORT_CIRCUIT};

/// What a pre hook returns.
#[derive(Debug)]
#[must_use = "a flow does something only when the hook returns it"]
pub enum Flow {
    /// The request goes on, with the edits made.
    Continue,
    /// The request is answered; the provider is not called.
    ShortCircuit(ShortCircuit),
}

impl From<ShortCircuit> for Flow {
    fn from(short_circuit: ShortCircuit) -> Self {
        Flow::ShortCircuit(short_circuit)
    }
}

/// What a pre hook returns for a request that streams.
#[must_use = "a flow does something only when the hook returns it"]
pub enum StreamFlow {
    /// The request goes on, with the edits made.
    Continue,
    /// The request is answered; a response becomes a stream of that response.
    ShortCircuit(ShortCircuit),
    /// The request is answered with a stream of the plugin's own.
    Stream(Streamed),
}

impl From<Flow> for StreamFlow {
    fn from(flow: Flow) -> Self {
        match flow {
            Flow::Continue => StreamFlow::Continue,
            Flow::ShortCircuit(short_circuit) => StreamFlow::ShortCircuit(short_circuit),
        }
    }
}

impl From<ShortCircuit> for StreamFlow {
    fn from(short_circuit: ShortCircuit) -> Self {
        StreamFlow::ShortCircuit(short_circuit)
    }
}

impl From<Streamed> for StreamFlow {
    fn from(streamed: Streamed) -> Self {
        StreamFlow::Stream(streamed)
    }
}

/// An answer in the provider's place: a pre hook returns it, by `.into()`. The provider is not called, nor any later
/// pre hook; the post hooks of the instances whose turn came run, this one's included.
///
/// ```
/// # use llmux_abi::prelude::*;
/// # fn answer(hit: Option<String>, spent: bool) -> Result<Flow> {
/// if let Some(json) = hit {
///     return Ok(ShortCircuit::respond_json(json).metadata("cache_hit", true).into());
/// }
/// if spent {
///     let error = Error::rate_limited("come back later").retry_after(1.5);
///     return Ok(ShortCircuit::reject(error).allow_fallback(false).into());
/// }
/// # Ok(Flow::Continue)
/// # }
/// ```
///
/// An answer that makes no sense (a response that is no JSON object, an error whose status is not 400 to 599, more
/// than 64 MiB) is a failure of the hook.
#[derive(Debug)]
#[must_use = "a short circuit does something only when the hook returns it"]
pub struct ShortCircuit {
    reply: Reply,
    metadata: Vec<(Cow<'static, str>, Value)>,
}

#[derive(Debug)]
enum Reply {
    /// JSON, or why there is none.
    Response(Result<String, String>),
    Error {
        error: Error,
        allow_fallback: bool,
    },
}

impl ShortCircuit {
    /// Answers with a response: a [`Response::text`](crate::Response::text), a `serde_json::Value`, a struct.
    pub fn respond(response: impl Serialize) -> Self {
        Self::reply(Reply::Response(serde_json::to_string(&response).map_err(|error| error.to_string())))
    }

    /// Answers with a response that is JSON text already.
    pub fn respond_json(text: impl Into<String>) -> Self {
        Self::reply(Reply::Response(Ok(text.into())))
    }

    /// Answers with an error. The post hooks may still recover; if none does, the client goes on to the next
    /// fallback, unless [`allow_fallback`](Self::allow_fallback) says no.
    pub fn reject(error: Error) -> Self {
        Self::reply(Reply::Error { error, allow_fallback: true })
    }

    fn reply(reply: Reply) -> Self {
        Self { reply, metadata: Vec::new() }
    }

    /// May a fallback follow this error? Default `true`; without meaning for a response.
    pub fn allow_fallback(mut self, allow: bool) -> Self {
        if let Reply::Error { allow_fallback, .. } = &mut self.reply {
            *allow_fallback = allow;
        }
        self
    }

    /// Adds a value to the context for the hooks that follow.
    pub fn metadata(mut self, key: impl Into<Cow<'static, str>>, value: impl Into<Value>) -> Self {
        self.metadata.push((key.into(), value.into()));
        self
    }

    fn answer(self, answer: &mut Answer<'_>) -> u32 {
        for (key, value) in &self.metadata {
            answer.metadata(key, value);
        }
        match self.reply {
            Reply::Response(Ok(json)) => answer.respond(&json),
            Reply::Response(Err(error)) => {
                answer.failed(&format!("the response cannot be written as JSON: {error}"));
                return HOOK_FAILED;
            }
            Reply::Error { error, allow_fallback } => answer.reject(&error.to_document(), allow_fallback),
        }
        HOOK_SHORT_CIRCUIT
    }
}

impl Flow {
    pub(crate) fn answer(self, answer: &mut Answer<'_>) -> u32 {
        match self {
            Flow::Continue => HOOK_CONTINUE,
            Flow::ShortCircuit(short_circuit) => short_circuit.answer(answer),
        }
    }
}

impl StreamFlow {
    pub(crate) fn answer(self, host: &Host, answer: &mut Answer<'_>) -> u32 {
        match self {
            StreamFlow::Continue => HOOK_CONTINUE,
            StreamFlow::ShortCircuit(short_circuit) => short_circuit.answer(answer),
            StreamFlow::Stream(Streamed { source, metadata }) => {
                for (key, value) in &metadata {
                    answer.metadata(key, value);
                }
                answer.respond_stream(source, host);
                HOOK_SHORT_CIRCUIT
            }
        }
    }
}

/// Produces the chunks of a stream, one at a time, for as long as the client reads. It outlives the hook that made
/// it, so it owns what it needs; it is dropped when the stream ends or the client goes away.
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
    /// The next chunk as JSON, or `None` at the end. An `Err` ends the stream with that error. One that takes longer
    /// than the host's `stream_idle_timeout` (300 s by default) ends the stream too.
    fn next(&mut self) -> impl Future<Output = Option<Result<serde_json::Value, Error>>> + Send;
}

/// The chunks of a list, in order.
impl ChunkSource for std::vec::IntoIter<serde_json::Value> {
    async fn next(&mut self) -> Option<Result<serde_json::Value, Error>> {
        Iterator::next(self).map(Ok)
    }
}

/// A stream of the plugin's own, in the provider's place.
pub struct Streamed {
    source: Box<dyn BoxedSource>,
    metadata: Vec<(Cow<'static, str>, Value)>,
}

impl Streamed {
    /// Answers with the chunks of this source.
    pub fn new(source: impl ChunkSource) -> Self {
        Self { source: Box::new(source), metadata: Vec::new() }
    }

    /// Answers with these chunks.
    pub fn chunks(chunks: Vec<serde_json::Value>) -> Self {
        Self::new(chunks.into_iter())
    }

    /// Answers with these events: the name (empty for none) and the data, JSON text that goes out byte for
    /// byte. What a cache or a recording answers with.
    pub fn events<N, D>(events: impl IntoIterator<Item = (N, D), IntoIter: Send + 'static>) -> Self
    where
        N: Into<String>,
        D: Into<String>,
    {
        let events = events.into_iter().map(|(name, data)| (name.into(), data.into()));
        Self { source: Box::new(Events(events)), metadata: Vec::new() }
    }

    /// Adds a value to the context for the hooks that follow.
    pub fn metadata(mut self, key: impl Into<Cow<'static, str>>, value: impl Into<Value>) -> Self {
        self.metadata.push((key.into(), value.into()));
        self
    }
}

/// The next event of a boxed source: its name, empty for none, and its data.
pub(crate) type NextEvent<'a> =
    Pin<Box<dyn Future<Output = Option<Result<(String, String), Error>>> + Send + 'a>>;

/// [`ChunkSource`], so that one type stands for all of them.
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

/// Events that are there already.
struct Events<I>(I);

impl<I: Iterator<Item = (String, String)> + Send> BoxedSource for Events<I> {
    fn next_event(&mut self) -> NextEvent<'_> {
        Box::pin(std::future::ready(self.0.next().map(Ok)))
    }
}

/// What happens to a chunk.
#[derive(Debug)]
#[must_use = "a flow does something only when the hook returns it"]
pub enum ChunkFlow {
    /// It goes on, with the edits made.
    Forward,
    /// It is left out.
    Drop,
    /// These take its place; an event's name goes with them.
    Replace(Vec<serde_json::Value>),
    /// The stream ends here, with an error.
    End(Error),
}

impl ChunkFlow {
    pub(crate) fn answer(self, event: &str, answer: &mut Answer<'_>) -> u32 {
        match self {
            ChunkFlow::Forward => HOOK_CONTINUE,
            ChunkFlow::Drop => HOOK_DROP,
            ChunkFlow::Replace(chunks) => {
                for chunk in chunks {
                    answer.emit(event, &chunk.to_string());
                }
                HOOK_REPLACE
            }
            ChunkFlow::End(error) => {
                answer.end_stream(&error.to_document());
                HOOK_END
            }
        }
    }
}
