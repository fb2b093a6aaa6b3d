//! The one trait that a plugin implements.

use std::future::Future;

use schemars::JsonSchema;
use serde::{Deserialize, de::DeserializeOwned};

use super::{
    chunk::Chunk,
    context::Context,
    error::Result,
    flow::{ChunkFlow, Flow, StreamFlow},
    host::Host,
    outcome::{Completion, Outcome, StreamEnd},
    request::Request,
    shim::{Absent, AsPreHook},
};

/// A plugin: how an instance is made, and what it does at each hook.
///
/// Every hook has a default that does nothing, which the host does not even call, and is written as a plain
/// `async fn`. Hooks of one instance
/// run concurrently for different requests, so shared state goes behind a lock or an atomic of the plugin's;
/// what belongs to one request goes into [`Context::state`].
///
/// A hook that returns an `Err`, panics, or runs past its timeout has *failed*: what it edited is rolled
/// back, the failure is logged and counted, and the request goes on, unless the instance's `on_error` is
/// `fail`.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a plugin",
    label = "this type does not implement `llmux_abi::Plugin`",
    note = "write `impl Plugin for {Self} {{ type Config = NoConfig; fn new(..) -> Result<Self> {{ .. }} }}` and the hooks it needs"
)]
pub trait Plugin: Sized + Send + Sync + 'static {
    /// The configuration: any type that serde reads and whose JSON Schema is known. The host checks the
    /// operator's configuration against that schema before it makes an instance. [`NoConfig`] for none.
    type Config: Configuration;

    /// Makes an instance. Called once for each, off the request path, at most 10 s.
    ///
    /// # Errors
    ///
    /// An `Err` refuses to start with this configuration; its message reaches the operator.
    fn new(config: Self::Config, host: Host) -> Result<Self>;

    /// Before the provider sees the request. May edit it, or answer in the provider's place.
    ///
    /// Default: goes on. An `Err` is a failure of the plugin; to refuse a request, return
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
    /// instance; not for streams.
    ///
    /// Default: does nothing.
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
    fn pre_stream_hook(
        &self,
        ctx: &mut Context<'_>,
        request: &mut Request<'_>,
    ) -> impl Future<Output = Result<StreamFlow>> + Send {
        AsPreHook(self.pre_hook(ctx, request))
    }

    /// For every chunk of a stream, on its way to the client.
    ///
    /// Default: forwards it.
    fn on_stream_chunk(
        &self,
        ctx: &mut Context<'_>,
        chunk: &mut Chunk<'_>,
    ) -> impl Future<Output = Result<ChunkFlow>> + Send {
        let _ = (ctx, chunk);
        Absent::new()
    }

    /// Once for every stream whose pre chain reached this instance, with how it ended. May emit last chunks
    /// if it completed.
    ///
    /// Default: does nothing.
    fn post_stream_hook(
        &self,
        ctx: &mut Context<'_>,
        end: &mut StreamEnd<'_>,
    ) -> impl Future<Output = Result<()>> + Send {
        let _ = (ctx, end);
        Absent::new()
    }

    /// Once for every request of a client, whether this instance's turn came or not, after the caller has
    /// the answer. Can change nothing: it is for metrics and billing.
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

    /// Once, after the last hook has returned: when the instance is unloaded, or the host shuts down.
    ///
    /// Default: does nothing. An `Err` is reported.
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
