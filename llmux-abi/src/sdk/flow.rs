//! Results of hooks: continue, short circuit, the treatment of a chunk, and the verdict beside a call.

use std::{borrow::Cow, fmt};

use serde::Serialize;

use super::{error::Error, source::Streamed, value::Value};

/// Result of a pre hook.
#[derive(Debug)]
#[non_exhaustive]
#[must_use = "a flow does something only when the hook returns it"]
pub enum Flow {
    /// The request continues, with the edits made.
    Continue,
    /// The request is answered; the provider is not called.
    ShortCircuit(ShortCircuit),
}

impl From<ShortCircuit> for Flow {
    fn from(short_circuit: ShortCircuit) -> Self {
        Flow::ShortCircuit(short_circuit)
    }
}

/// Result of a pre hook for a request that streams.
#[non_exhaustive]
#[must_use = "a flow does something only when the hook returns it"]
pub enum StreamFlow {
    /// The request continues, with the edits made.
    Continue,
    /// The request is answered; the host turns a response into a stream of that response.
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

/// An answer instead of the provider's: a pre hook returns it, by `.into()`. The host then calls neither the provider
/// nor any later pre hook. The post hooks of all instances whose pre hook was called run, this one's included.
///
/// ```
/// # use llmux_abi::prelude::*;
/// # fn answer(hit: Option<String>, spent: bool) -> Result<Flow> {
/// if let Some(json) = hit {
///     return Ok(ShortCircuit::respond_json(json).with_cached(true).into());
/// }
/// if spent {
///     let error = Error::rate_limited("come back later").with_retry_after(1.5);
///     return Ok(ShortCircuit::reject(error).with_allow_fallback(false).into());
/// }
/// # Ok(Flow::Continue)
/// # }
/// ```
///
/// An invalid answer (a response that is not a JSON object, an error whose status is not 400 to 599, more
/// than 64 MiB) is a failure of the hook.
#[derive(Debug)]
#[must_use = "a short circuit does something only when the hook returns it"]
pub struct ShortCircuit {
    pub(crate) reply: Reply,
    pub(crate) metadata: Vec<(Cow<'static, str>, Value)>,
    pub(crate) cached: bool,
}

/// JSON text that a plugin may share.
pub(crate) struct Json(Box<dyn AsRef<str> + Send>);

impl AsRef<str> for Json {
    fn as_ref(&self) -> &str {
        (*self.0).as_ref()
    }
}

impl fmt::Debug for Json {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_ref().fmt(f)
    }
}

#[derive(Debug)]
pub(crate) enum Reply {
    /// JSON, or the reason why it could not be written.
    Response(Result<Json, String>),
    Error {
        error: Error,
        allow_fallback: bool,
    },
}

impl ShortCircuit {
    /// Answers with a response: a [`Response::text`](crate::Response::text), a `serde_json::Value`, a struct.
    pub fn respond(response: impl Serialize) -> Self {
        let json = serde_json::to_string(&response);
        Self::reply(Reply::Response(json.map(|json| Json(Box::new(json))).map_err(|error| error.to_string())))
    }

    /// Answers with a response that is JSON text already. The text is not copied, so that a plugin may keep it too, in an
    /// `Arc<str>` or in a type of its own.
    pub fn respond_json(text: impl AsRef<str> + Send + 'static) -> Self {
        Self::reply(Reply::Response(Ok(Json(Box::new(text)))))
    }

    /// Answers with an error. The post hooks may still replace it by a response. If none does, the host tries the next
    /// fallback, unless [`with_allow_fallback`](Self::with_allow_fallback) is set to false.
    pub fn reject(error: Error) -> Self {
        Self::reply(Reply::Error { error, allow_fallback: true })
    }

    fn reply(reply: Reply) -> Self {
        Self { reply, metadata: Vec::new(), cached: false }
    }

    /// Sets whether a fallback may follow this error. Default `true`; without effect on a response.
    pub fn with_allow_fallback(mut self, allow: bool) -> Self {
        if let Reply::Error { allow_fallback, .. } = &mut self.reply {
            *allow_fallback = allow;
        }
        self
    }

    /// Sets whether this is a copy of an earlier answer. [`Completion::answered_by`](crate::Completion::answered_by) then
    /// names a cache.
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

/// Result of the hook beside the provider's call.
///
/// ```
/// # use llmux_abi::prelude::*;
/// # fn judged(is_flagged: bool) -> Result<Verdict> {
/// if is_flagged {
///     return Ok(Verdict::refuse(Error::forbidden("the content is not allowed")));
/// }
/// # Ok(Verdict::Allow)
/// # }
/// ```
#[derive(Debug)]
#[non_exhaustive]
#[must_use = "a verdict does something only when the hook returns it"]
pub enum Verdict {
    /// The provider's answer may be sent.
    Allow,
    /// The request is refused, and the provider's call is cancelled.
    #[non_exhaustive]
    Refuse {
        /// The error in the place of the answer.
        error: Error,
        /// Whether the next fallback may follow.
        allow_fallback: bool,
    },
}

impl Verdict {
    /// Refuses the request with this error. No fallback follows, unless [`with_allow_fallback`](Self::with_allow_fallback) is set.
    pub fn refuse(error: Error) -> Self {
        Self::Refuse { error, allow_fallback: false }
    }

    /// Sets whether the next fallback may follow a refusal, for example to a model that may see the content. The hook runs
    /// again beside the call of that model. Default `false`; without effect on [`Allow`](Self::Allow).
    pub fn with_allow_fallback(mut self, allow: bool) -> Self {
        if let Self::Refuse { allow_fallback, .. } = &mut self {
            *allow_fallback = allow;
        }
        self
    }
}

/// Result of a text hook.
#[derive(Debug)]
#[non_exhaustive]
#[must_use = "a flow does something only when the hook returns it"]
pub enum TextFlow {
    /// The text goes on, with the edits made.
    Continue,
    /// The request ends here, with an error. A stream ends after the text that was sent before.
    End(Error),
}

/// Result of a tool call hook: the treatment of the call.
#[derive(Debug)]
#[non_exhaustive]
#[must_use = "a flow does something only when the hook returns it"]
pub enum ToolFlow {
    /// The call goes on, with the edits made.
    Continue,
    /// Removes the call from the answer.
    Remove,
    /// The request ends here, with an error. A stream ends after the chunks that were sent before.
    End(Error),
}

/// Result of a chunk hook: the treatment of the chunk.
#[derive(Debug)]
#[non_exhaustive]
#[must_use = "a flow does something only when the hook returns it"]
pub enum ChunkFlow {
    /// Forwards the chunk, with the edits made.
    Forward,
    /// Drops the chunk.
    Drop,
    /// Replaces the chunk by these, which keep the name of its event.
    Replace(Vec<serde_json::Value>),
    /// Ends the stream here, with an error.
    End(Error),
}
