//! The one trait that a plugin implements.

use std::future::Future;

use schemars::JsonSchema;
use serde::{Deserialize, de::DeserializeOwned};

use super::{
    absent::{Absent, AsPreHook},
    chunk::Chunk,
    context::Context,
    error::Result,
    flow::{ChunkFlow, Flow, StreamFlow},
    host::Host,
    outcome::{Completion, Outcome, StreamEnd},
    request::Request,
};

/// A plugin: how an instance is made, and what it does at each hook.
///
/// Every hook has a default, and is written as a plain `async fn`. One that is not written is not called:
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
/// Hooks of one instance run at once for different requests, on threads of the host, and may go on on another
/// thread after an `.await`. Shared state goes behind a lock or an atomic of the plugin's; what belongs to one
/// request goes into [`Context::state`]. A hook never blocks its thread: it cannot be cancelled then, and holds
/// up other requests (the host warns above 10 ms).
///
/// # Failures
///
/// A hook that returns an `Err`, panics, or runs past its timeout (10 s by default) has *failed*: what it did to the
/// body, the context's values and the response headers is rolled back, the failure is logged and counted, and the
/// request goes on, unless the instance's `on_error` is `fail`. A failure is not a refusal: for that, return
/// [`ShortCircuit::reject`](crate::ShortCircuit::reject).
///
/// # Cancellation
///
/// At its timeout a hook that waits is dropped where it waits; so are pre hooks and chunk hooks when the caller
/// goes away. Destructors run, the code after the `.await` does not.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a plugin",
    label = "this type does not implement `llmux_abi::Plugin`",
    note = "write `impl Plugin for {Self} {{ type Config = NoConfig; fn new(..) -> Result<Self> {{ .. }} }}` and the hooks it needs"
)]
pub trait Plugin: Sized + Send + Sync + 'static {
    /// The configuration: any type that serde reads and whose JSON Schema is known. The host checks the
    /// operator's configuration against that schema before it makes an instance; an error names the member, what
    /// was expected and what was found. [`NoConfig`] for none.
    type Config: Configuration;

    /// Makes an instance. Called once for each, on a thread that may block, at most 10 s.
    ///
    /// # Errors
    ///
    /// An `Err` refuses to start with this configuration; its message reaches the operator.
    fn new(config: Self::Config, host: Host) -> Result<Self>;

    /// Before the provider sees the request. May edit it, or answer in the provider's place. Called for every
    /// attempt (a fallback is one more) of a request that does not stream, by ascending priority.
    ///
    /// Default: goes on.
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

    /// After the provider (or a short circuit) has answered: may edit the response or the error, recover
    /// from an error, or turn a response into one. Runs once for each attempt whose pre chain reached this
    /// instance, by descending priority; not for streams.
    ///
    /// Default: does nothing.
    ///
    /// # Errors
    ///
    /// An `Err` is a failure of the plugin: the outcome is again what this hook was given. To give the caller an
    /// error, use [`Outcome::fail`].
    fn post_hook(
        &self,
        ctx: &mut Context<'_>,
        outcome: &mut Outcome<'_>,
    ) -> impl Future<Output = Result<()>> + Send {
        let _ = (ctx, outcome);
        Absent::new()
    }

    /// In [`pre_hook`](Plugin::pre_hook)'s place when the request streams.
    ///
    /// Default: calls `pre_hook`, so that a guard written for one guards both; a response with which it
    /// answers becomes a stream of that response.
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

    /// For every chunk of a stream, on its way to the client: in order, one at a time, by descending priority of
    /// the instances whose turn came in the pre chain.
    ///
    /// Default: forwards it.
    ///
    /// # Errors
    ///
    /// An `Err` is a failure of the plugin: the chunk goes on as it was. To end the stream, return
    /// [`ChunkFlow::End`].
    fn on_stream_chunk(
        &self,
        ctx: &mut Context<'_>,
        chunk: &mut Chunk<'_>,
    ) -> impl Future<Output = Result<ChunkFlow>> + Send {
        let _ = (ctx, chunk);
        Absent::new()
    }

    /// Once for every stream whose pre chain reached this instance, with how it ended: also one that was refused
    /// before its first chunk, or that the client left. May emit last chunks if it completed.
    ///
    /// Default: does nothing.
    ///
    /// # Errors
    ///
    /// An `Err` is a failure of the plugin: nothing is emitted.
    fn post_stream_hook(
        &self,
        ctx: &mut Context<'_>,
        end: &mut StreamEnd<'_>,
    ) -> impl Future<Output = Result<()>> + Send {
        let _ = (ctx, end);
        Absent::new()
    }

    /// Once for every request of a client, whether this instance's turn came or not, after the caller has
    /// the answer. Can change nothing: it is for metrics and billing. Called behind the answer, in a task of its
    /// own; left out, and counted, where more than 10 000 requests wait for it.
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

    /// Once, after the last hook has returned: when the instance is unloaded or replaced, or the host shuts down.
    /// Tasks of [`Host::spawn`] are aborted after it; then the instance is dropped, on a thread that may block.
    ///
    /// Default: does nothing.
    ///
    /// # Errors
    ///
    /// An `Err` is logged, and part of what a shutdown reports; the instance goes all the same.
    fn cleanup(&self) -> impl Future<Output = Result<()>> + Send {
        Absent::new()
    }
}

/// What may be a plugin's configuration: whatever derives `Deserialize` and `JsonSchema`. Never implemented by hand.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a plugin's configuration",
    label = "cannot be read from the operator's configuration, or has no JSON Schema",
    note = "write `#[derive(Deserialize, JsonSchema)]` on `{Self}`, and on the types of its members"
)]
// Without supertraits: a compiler would complain of those instead, and never show this note.
pub trait Configuration: Sized {
    /// Reads it from JSON.
    #[doc(hidden)]
    fn read(json: &str) -> serde_json::Result<Self>;

    /// Its JSON Schema, as JSON.
    #[doc(hidden)]
    fn schema() -> String;
}

#[diagnostic::do_not_recommend]
impl<T: DeserializeOwned + JsonSchema> Configuration for T {
    fn read(json: &str) -> serde_json::Result<Self> {
        serde_json::from_str(json)
    }

    fn schema() -> String {
        schemars::schema_for!(T).as_value().to_string()
    }
}

/// The configuration of a plugin that has none: `{}`.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NoConfig {}
