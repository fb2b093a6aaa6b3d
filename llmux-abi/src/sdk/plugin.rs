//! The trait that a plugin implements.

use std::future::Future;

use schemars::JsonSchema;
use serde::{Deserialize, de::DeserializeOwned};

use super::{
    absent::{Absent, AsPreHook},
    chunk::Chunk,
    context::Context,
    error::Result,
    flow::{ChunkFlow, Flow, StreamFlow, TextFlow, ToolFlow, Verdict},
    host::Host,
    outcome::{Completion, Outcome, StreamEnd},
    request::Request,
    text::Text,
    tool_call::ToolCall,
};

/// A plugin: the constructor of its instances and their hooks.
///
/// A hook is written as a plain `async fn`. Every hook has a default. The host does not call a hook that the plugin
/// does not implement:
///
/// ```
/// use llmux_abi::prelude::*;
///
/// struct OnlyOurs;
///
/// impl Plugin for OnlyOurs {
///     type Config = NoConfig;
///
///     fn new(_: NoConfig, _: Host) -> Result<Self> {
///         Ok(Self)
///     }
///
///     async fn pre_hook(&self, ctx: &mut Context<'_>, request: &mut Request<'_>) -> Result<Flow> {
///         if request.model().starts_with("our-") {
///             return Ok(Flow::Continue);
///         }
///         info!(request_id = ctx.request_id(), model = request.model(), "refused");
///         Ok(ShortCircuit::reject(Error::forbidden("not one of our models")).into())
///     }
/// }
/// # fn main() {}
/// ```
///
/// # Threads
///
/// Hooks of one instance run concurrently for different requests, on threads of the host. After an `.await`, a hook
/// may continue on another thread. A plugin protects shared state by a lock or an atomic, and keeps the state of one
/// request in [`Context::state`]. A hook must not block its thread: the host cannot cancel a blocked hook, and other
/// requests wait for the thread (the host warns above 10 ms).
///
/// # Failures
///
/// A hook that returns an `Err`, panics, or exceeds its timeout (10 s by default) has *failed*. The host rolls back the
/// hook's changes to the body, the context's values and the response headers, and logs and counts the failure. The
/// request then continues, unless the instance's `on_error` is `fail`. A failure is not a refusal: to refuse a request,
/// return [`ShortCircuit::reject`](crate::ShortCircuit::reject).
///
/// # Cancellation
///
/// At its timeout, the host drops the future of a hook that waits at an `.await`. If the client closes the connection,
/// the host also drops waiting pre hooks, chunk hooks and hooks beside the call. Destructors run; the code after the `.await` does not.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a plugin",
    label = "this type does not implement `llmux_abi::Plugin`",
    note = "write `impl Plugin for {Self} {{ type Config = NoConfig; fn new(..) -> Result<Self> {{ .. }} }}` and the hooks it needs"
)]
pub trait Plugin: Sized + Send + Sync + 'static {
    /// Type of the configuration: any type that serde reads and that has a JSON Schema. The host checks the operator's
    /// configuration against that schema before it makes an instance. An error names the member, the expected value and
    /// the value found. A plugin without configuration uses [`NoConfig`].
    type Config: Configuration;

    /// Whether the host calls every hook of this plugin, also one that looks like the trait's default. Default `false`:
    /// the host does not call a hook that the plugin does not implement.
    ///
    /// A plugin that wraps another one sets it to `true`. A hook that is written as a plain `fn`, and that returns the
    /// future of the inner plugin's default, cannot be told from the default itself, and the host would not call it.
    const EVERY_HOOK: bool = false;

    /// Makes an instance. Called once for each instance, on a thread that may block for at most 10 s.
    ///
    /// # Errors
    ///
    /// If this returns an `Err`, the instance does not start; the operator sees the error's message.
    fn new(config: Self::Config, host: Host) -> Result<Self>;

    /// Makes an instance that takes the place of another one of the same image, after a change of its configuration. Called
    /// instead of [`new`](Plugin::new), on a thread that may block for at most 10 s. `old` goes on to serve the requests
    /// that have it, and later gets its `cleanup`. The new instance can share its counters, caches and connections, for
    /// example in an `Arc`.
    ///
    /// A reload of the library's file has a new image, whose types are others. It calls `new`. So does a plugin whose
    /// manifest says [`Reload::Exclusive`](crate::Reload): its old instance is gone by then.
    ///
    /// Default: calls `new`.
    ///
    /// # Errors
    ///
    /// If this returns an `Err`, nothing changes, and `old` stays.
    fn renew(old: &Self, config: Self::Config, host: Host) -> Result<Self> {
        let _ = old;
        Self::new(config, host)
    }

    /// Called before the provider. May edit the request, or answer instead of the provider. Called for every attempt (a
    /// fallback is one more) of a request that does not stream, by ascending priority.
    ///
    /// Default: continues.
    ///
    /// # Errors
    ///
    /// An `Err` is a failure of the plugin; to refuse a request, return
    /// [`ShortCircuit::reject`](crate::ShortCircuit::reject).
    fn pre_hook(
        &self,
        ctx: &mut Context<'_>,
        request: &mut Request<'_>,
    ) -> impl Future<Output = Result<Flow>> + Send {
        let _ = (ctx, request);
        Absent::new()
    }

    /// Called after the provider (or a short circuit) has answered. May edit the response or the error, replace an
    /// error by a response, or a response by an error. Called once for each attempt whose pre chain reached this
    /// instance, by descending priority. Not called for streams.
    ///
    /// Default: does nothing.
    ///
    /// # Errors
    ///
    /// An `Err` is a failure of the plugin: the host restores the outcome that this hook received. To send an error to
    /// the client, use [`Outcome::fail`].
    fn post_hook(
        &self,
        ctx: &mut Context<'_>,
        outcome: &mut Outcome<'_>,
    ) -> impl Future<Output = Result<()>> + Send {
        let _ = (ctx, outcome);
        Absent::new()
    }

    /// Called instead of [`pre_hook`](Plugin::pre_hook) when the request streams.
    ///
    /// Default: calls `pre_hook`, so that one guard covers both kinds of request. If `pre_hook` answers with a
    /// response, the host converts it into a stream.
    ///
    /// # Errors
    ///
    /// As [`pre_hook`](Plugin::pre_hook).
    fn pre_stream_hook(
        &self,
        ctx: &mut Context<'_>,
        request: &mut Request<'_>,
    ) -> impl Future<Output = Result<StreamFlow>> + Send {
        AsPreHook(self.pre_hook(ctx, request))
    }

    /// Called for every chunk of a stream on its way to the client, in order, one at a time. Only instances that the
    /// pre chain reached are called, by descending priority.
    ///
    /// Default: forwards the chunk.
    ///
    /// # Errors
    ///
    /// An `Err` is a failure of the plugin: the host forwards the chunk unchanged. To end the stream, return
    /// [`ChunkFlow::End`].
    fn on_stream_chunk(
        &self,
        ctx: &mut Context<'_>,
        chunk: &mut Chunk<'_>,
    ) -> impl Future<Output = Result<ChunkFlow>> + Send {
        let _ = (ctx, chunk);
        Absent::new()
    }

    /// Called for each text, in requests and answers, on every endpoint, plain and streamed: a guard or a mask is written
    /// once. The texts of a request come after the `pre_hook` of this instance, those of an answer before its `post_hook` or
    /// `on_stream_chunk`. A text of a stream comes in pieces, however the provider split it. The hook holds the end that it
    /// cannot judge yet, and receives it again together with what follows:
    ///
    /// ```
    /// # use llmux_abi::prelude::*;
    /// # struct Guard;
    /// # impl Plugin for Guard {
    /// #     type Config = NoConfig;
    /// #     fn new(_: NoConfig, _: Host) -> Result<Self> {
    /// #         Ok(Self)
    /// #     }
    /// async fn on_text(&self, _: &mut Context<'_>, text: &mut Text<'_>) -> Result<TextFlow> {
    ///     if text.contains("forbidden") {
    ///         return Ok(TextFlow::End(Error::forbidden("a forbidden word")));
    ///     }
    ///     text.hold_start_of(&["forbidden"]);
    ///     Ok(TextFlow::Continue)
    /// }
    /// # }
    /// # fn main() {}
    /// ```
    ///
    /// Default: the text goes on.
    ///
    /// # Errors
    ///
    /// An `Err` is a failure of the plugin: the host sends the text unchanged, unless the instance's `on_error` is `fail`. To
    /// end the request, return [`TextFlow::End`].
    fn on_text(
        &self,
        ctx: &mut Context<'_>,
        text: &mut Text<'_>,
    ) -> impl Future<Output = Result<TextFlow>> + Send {
        let _ = (ctx, text);
        Absent::new()
    }

    /// Called for each tool call of an answer, plain and streamed, before any part of it is sent: a guard sees the name and the
    /// arguments as a whole. Calls of a choice come in their order, after the texts of this instance and before its `post_hook`
    /// or `on_stream_chunk`. The hook leaves the call, edits it, removes it, or ends the request:
    ///
    /// ```
    /// # use llmux_abi::prelude::*;
    /// # struct Guard;
    /// # impl Plugin for Guard {
    /// #     type Config = NoConfig;
    /// #     fn new(_: NoConfig, _: Host) -> Result<Self> {
    /// #         Ok(Self)
    /// #     }
    /// async fn on_tool_call(&self, _: &mut Context<'_>, call: &mut ToolCall<'_>) -> Result<ToolFlow> {
    ///     match call.name() {
    ///         "delete_file" => Ok(ToolFlow::Remove),
    ///         _ => Ok(ToolFlow::Continue),
    ///     }
    /// }
    /// # }
    /// # fn main() {}
    /// ```
    ///
    /// Default: the call goes on.
    ///
    /// # Errors
    ///
    /// An `Err` is a failure of the plugin: the host sends the call unchanged, unless the instance's `on_error` is `fail`. To
    /// end the request, return [`ToolFlow::End`].
    fn on_tool_call(
        &self,
        ctx: &mut Context<'_>,
        call: &mut ToolCall<'_>,
    ) -> impl Future<Output = Result<ToolFlow>> + Send {
        let _ = (ctx, call);
        Absent::new()
    }

    /// Called while the provider is called, so that a slow check adds no time to a slower answer. Starts after the pre hooks of
    /// all instances, once for each attempt that calls a provider. A retry or another deployment does not start it again; a
    /// fallback does. Not called if a plugin has answered. The hooks of several instances run at the same time.
    ///
    /// Nothing of the provider's answer reaches the client before all these hooks have allowed it. A refusal cancels the
    /// provider's call. The hook sees the request as the pre hooks left it. Values and response headers that it sets reach the
    /// request after all verdicts, by ascending priority; of a refused request, only those of the hook that refused it. To
    /// refuse before the provider is called, write [`pre_hook`](Plugin::pre_hook).
    ///
    /// ```
    /// # use llmux_abi::prelude::*;
    /// # struct Guard;
    /// # impl Guard {
    /// #     async fn is_flagged(&self, _: &str) -> Result<bool> {
    /// #         Ok(false)
    /// #     }
    /// # }
    /// # impl Plugin for Guard {
    /// #     type Config = NoConfig;
    /// #     fn new(_: NoConfig, _: Host) -> Result<Self> {
    /// #         Ok(Self)
    /// #     }
    /// async fn beside(&self, _: &mut Context<'_>, request: &Request<'_>) -> Result<Verdict> {
    ///     let last = request.messages().last().map(|message| message.text()).unwrap_or_default();
    ///     if self.is_flagged(&last).await? {
    ///         return Ok(Verdict::refuse(Error::forbidden("the message is not allowed")));
    ///     }
    ///     Ok(Verdict::Allow)
    /// }
    /// # }
    /// # fn main() {}
    /// ```
    ///
    /// Default: allows the answer.
    ///
    /// # Errors
    ///
    /// An `Err` is a failure of the plugin: the answer is allowed, unless the instance's `on_error` is `fail`. To refuse a
    /// request, return [`Verdict::refuse`].
    fn beside(
        &self,
        ctx: &mut Context<'_>,
        request: &Request<'_>,
    ) -> impl Future<Output = Result<Verdict>> + Send {
        let _ = (ctx, request);
        Absent::new()
    }

    /// Called once at the end of every stream whose pre chain reached this instance, with a report of the end. Also
    /// called if the stream was refused before its first chunk or the client closed the connection. May emit last
    /// chunks if the stream completed.
    ///
    /// Default: does nothing.
    ///
    /// # Errors
    ///
    /// An `Err` is a failure of the plugin: the host sends none of the emitted chunks.
    fn post_stream_hook(
        &self,
        ctx: &mut Context<'_>,
        end: &mut StreamEnd<'_>,
    ) -> impl Future<Output = Result<()>> + Send {
        let _ = (ctx, end);
        Absent::new()
    }

    /// Called once for every request of a client, also if the pre chain did not reach this instance, after the client
    /// has the response. For metrics and billing: it cannot change the response. The host calls it in a separate
    /// task. If more than 10 000 requests wait for this call, the host skips it and counts the omission.
    ///
    /// Default: does nothing.
    fn on_complete(
        &self,
        ctx: &mut Context<'_>,
        completion: &Completion<'_>,
    ) -> impl Future<Output = ()> + Send {
        let _ = (ctx, completion);
        Absent::new()
    }

    /// Called once, after the last hook has returned, when the instance is unloaded or replaced or the host shuts down.
    /// The host then aborts the tasks of [`Host::spawn`] and drops the instance, on a thread that may block.
    ///
    /// Default: does nothing.
    ///
    /// # Errors
    ///
    /// The host logs an `Err` and includes it in the report of a shutdown. The instance is dropped nevertheless.
    fn cleanup(&self) -> impl Future<Output = Result<()>> + Send {
        Absent::new()
    }
}

/// A type of plugin configuration. Implemented for every type that derives `Deserialize` and `JsonSchema`, never by
/// hand.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a plugin's configuration",
    label = "cannot be read from the operator's configuration, or has no JSON Schema",
    note = "write `#[derive(Deserialize, JsonSchema)]` on `{Self}`, and on the types of its members",
    note = "`JsonSchema` is that of schemars 1, which is exported as `llmux_abi::schemars`"
)]
// Without supertraits: the compiler would report a missing supertrait instead of this note.
pub trait Configuration: Sized {
    /// Reads the configuration from JSON.
    #[doc(hidden)]
    fn read(json: &str) -> serde_json::Result<Self>;

    /// Returns the JSON Schema of the type, as JSON.
    #[doc(hidden)]
    fn schema() -> String;
}

#[diagnostic::do_not_recommend]
impl<T: DeserializeOwned + JsonSchema> Configuration for T {
    fn read(json: &str) -> serde_json::Result<Self> {
        // By way of a value: if another crate switches `arbitrary_precision` on, serde cannot read the numbers of a tagged
        // enum from a text.
        serde_json::from_value(serde_json::from_str(json)?)
    }

    fn schema() -> String {
        schemars::schema_for!(T).as_value().to_string()
    }
}

/// The configuration of a plugin without options: `{}`.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NoConfig {}
