//! An instance of a plugin, compiled in or loaded: calls its hooks.

use std::{sync::Arc, task, time::Duration};

use abi_stable::{sabi_types::RRef, std_types::RStr};
use async_ffi::{ContextExt, FfiContext};
use futures_util::FutureExt;
use llmux_abi::raw::{
    flow::{HOOK_CONTINUE, HOOK_FAILED, HookPoll},
    host::RawHost,
    plugin::{PluginModuleRef, RawInstance},
};

use super::{
    StateSlot, answer, context, document, host::HostServices, library::Image, outcome, stream::Calling,
};
use crate::pipeline::hook::{
    Answer, Failure, FailureKind, Frame, HookKind, HookSet, Hooks, Started, Subject,
};

/// A function that makes an instance by hand.
pub(crate) type Make = Box<dyn FnOnce(&str, RawHost) -> Result<RawInstance, String> + Send>;

/// An instance. Dropping it gives it back to the plugin.
pub(crate) struct Instance {
    raw: RawInstance,
    /// What the instance may ask of the host; its tasks end with it.
    host: Arc<HostServices>,
    /// The image that holds its code. Never unmapped; kept to count images in use.
    _image: Option<Arc<Image>>,
}

// SAFETY: the contract lets the host call an instance's hooks from any thread, and several at once; the SDK
// requires a plugin to be `Send + Sync`.
unsafe impl Send for Instance {}
// SAFETY: as for `Send`.
unsafe impl Sync for Instance {}

impl Instance {
    /// Makes an instance of a module. Runs the plugin's code: not on the request path, and in its own time.
    pub(crate) fn create(
        module: PluginModuleRef,
        config: &str,
        host: Arc<HostServices>,
        image: Option<Arc<Image>>,
    ) -> Result<Self, Failure> {
        let mut answer = Answer::default();
        let name = RStr::from_str(host.name());
        // SAFETY: the module is of this ABI (checked when it was loaded, or compiled in).
        let made =
            unsafe { module.create()(name, RStr::from_str(config), host.raw(), answer::handle(&mut answer)) };
        match made.into_option() {
            Some(raw) => Ok(Self { raw, host, _image: image }),
            None => Err(answer.failure.unwrap_or_else(|| Failure::error("gave no reason"))),
        }
    }

    /// Makes an instance by hand, of a compiled-in plugin.
    pub(crate) fn by_hand(make: Make, host: Arc<HostServices>) -> Result<Self, Failure> {
        let raw = make(host.name(), host.raw()).map_err(Failure::error)?;
        Ok(Self { raw, host, _image: None })
    }

    /// The JSON Schema of a module's configuration, as text.
    pub(crate) fn config_schema(module: PluginModuleRef) -> Result<String, Failure> {
        let mut answer = Answer::default();
        // SAFETY: the module is of this ABI (checked when it was loaded, or compiled in).
        let code = unsafe { module.config_schema()(answer::handle(&mut answer)) };
        match answer.said {
            crate::pipeline::hook::Said::Respond(schema) if code == HOOK_CONTINUE => {
                Ok(String::from_utf8_lossy(&schema.to_bytes()).into_owned())
            }
            _ => Err(answer.failure.unwrap_or_else(|| Failure::error("gave no schema"))),
        }
    }

    /// The instance's last call, after all others: `cleanup`, then the end of its tasks.
    pub(crate) async fn clean_up(&self, timeout: Duration) -> Result<(), Failure> {
        let mut answer = Answer::default();
        let result = match self.raw.table.cleanup().flatten() {
            None => Ok(HOOK_CONTINUE),
            Some(cleanup) => {
                let object = self.object();
                let answer = answer::handle(&mut answer);
                // SAFETY: the object stands beside its table, and lives as long as `self`.
                let call =
                    Calling::Start(|waker: &mut FfiContext<'_>| unsafe { cleanup(object, answer, waker) });
                let call = std::panic::AssertUnwindSafe(call).catch_unwind();
                tokio::time::timeout(timeout, call).await.map(|code| code.unwrap_or(HOOK_FAILED))
            }
        };
        self.host.stop_tasks().await;
        match result {
            Ok(HOOK_CONTINUE) if answer.failure.is_none() => Ok(()),
            Ok(_) => Err(answer.failure.unwrap_or_else(|| Failure::error("gave no reason"))),
            Err(_) => Err(Failure {
                kind: FailureKind::Timeout,
                message: format!("ran past its timeout of {timeout:?}"),
            }),
        }
    }

    fn object(&self) -> RRef<'_, llmux_abi::raw::plugin::InstanceObject> {
        // SAFETY: the plugin's object is live until `drop`.
        unsafe { RRef::from_raw(self.raw.object) }
    }
}

impl Hooks for Instance {
    fn start<'f>(&'f self, frame: Frame<'f>, cx: &mut task::Context<'_>) -> Started<'f> {
        let Frame { context, subject, answer } = frame;
        let table = self.raw.table;
        let object = self.object();
        let context = context::handle(context);
        let answer = answer::handle(answer);
        let polled = cx.with_ffi_context(|waker| {
            // SAFETY: every hook is called with the object that stands beside its table, and with handles
            // on parts of the request that stay borrowed for `'f` (see the head of `boundary`).
            unsafe {
                match subject {
                    Subject::Pre(body) => table
                        .pre_hook()
                        .flatten()
                        .map(|hook| hook(object, context, document::handle(body), answer, waker)),
                    // A missing one is `pre_hook` (rule S1).
                    Subject::PreStream(body) => table
                        .pre_stream_hook()
                        .flatten()
                        .or(table.pre_hook().flatten())
                        .map(|hook| hook(object, context, document::handle(body), answer, waker)),
                    Subject::Post(outcome) => table
                        .post_hook()
                        .flatten()
                        .map(|hook| hook(object, context, outcome::handle(outcome), answer, waker)),
                    Subject::Chunk(chunk) => table.on_stream_chunk().flatten().map(|hook| {
                        let event = RStr::from_str(chunk.event.as_deref().unwrap_or_default());
                        hook(object, context, event, document::handle(&mut chunk.body), answer, waker)
                    }),
                    Subject::PostStream(report) => table
                        .post_stream_hook()
                        .flatten()
                        .map(|hook| hook(object, context, outcome::report_handle(report), answer, waker)),
                    Subject::Complete(report) => table
                        .on_complete()
                        .flatten()
                        .map(|hook| hook(object, context, outcome::report_handle(report), answer, waker)),
                }
            }
        });
        match polled {
            None => Started::Ready(HOOK_CONTINUE),
            Some(HookPoll::Ready(code)) => Started::Ready(code),
            Some(HookPoll::Pending(future)) => {
                // The SDK's futures never report a panic of their `poll`; another's might.
                let future = std::panic::AssertUnwindSafe(future).catch_unwind();
                Started::Waiting(future.map(|code| code.unwrap_or(HOOK_FAILED)).boxed())
            }
        }
    }

    fn hooks(&self) -> HookSet {
        let table = self.raw.table;
        let has = |hook: &HookKind| match hook {
            HookKind::Pre => table.pre_hook().flatten().is_some(),
            HookKind::Post => table.post_hook().flatten().is_some(),
            // A missing one is `pre_hook` (rule S1).
            HookKind::PreStream => {
                table.pre_stream_hook().flatten().is_some() || table.pre_hook().flatten().is_some()
            }
            HookKind::Chunk => table.on_stream_chunk().flatten().is_some(),
            HookKind::PostStream => table.post_stream_hook().flatten().is_some(),
            HookKind::Complete => table.on_complete().flatten().is_some(),
            HookKind::Cleanup => table.cleanup().flatten().is_some(),
        };
        HookKind::ALL.into_iter().filter(has).collect()
    }

    fn state_slot(&self) -> StateSlot {
        StateSlot::new(self.raw.table)
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        self.host.close();
        // SAFETY: the host owns the instance and gives it back here, once; no hook is under way, since a
        // hook borrows the instance.
        unsafe { self.raw.table.drop()(self.raw.object) }
    }
}
