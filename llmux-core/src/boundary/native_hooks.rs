//! The hooks of an instance whose code is in this process, compiled in or loaded.

use std::{any::Any, future::poll_fn, ptr, sync::Arc, task, time::Duration};

use abi_stable::{sabi_types::RRef, std_types::RStr};
use async_ffi::{ContextExt, FfiContext};
use futures_util::{FutureExt, future::BoxFuture};
use llmux_abi::{
    host::Parameters,
    raw::{
        call::{
            ChunkCall, ChunkCallRef, CleanupCall, CleanupCallRef, CreateCall, CreateCallRef, InstanceObject,
            OutcomeCall, OutcomeCallRef, ReportCall, ReportCallRef, RequestCall, RequestCallRef, TextCallRef,
            ToolCallRef,
        },
        context::StateObject,
        flow::{HOOK_CONTINUE, HOOK_FAILED, HookPoll},
        host::RawHost,
        plugin::{PluginModuleRef, RawInstance},
    },
};

use super::{
    context,
    crash::Running,
    decision::{FAILED, decode},
    document,
    host::HostServices,
    lent_memory,
    library::Image,
    outcome, reply,
    stream::Calling,
    text, tool_call,
};
use crate::pipeline::{
    hook::{Answer, Decision, FirstPoll, HookCall, HookInput, HookReply, Hooks, StateSlot},
    kind::{Failure, FailureKind, HookKind, HookSet},
};

/// A function of the embedder's that makes an instance.
pub(crate) type Make = Box<dyn FnOnce(&str, RawHost) -> Result<RawInstance, String> + Send>;

/// An instance whose code is in this process. Dropping it gives it back to the plugin.
pub(crate) struct NativeHooks {
    raw: RawInstance,
    /// The services that the instance may use. Its tasks end with it.
    host: Arc<HostServices>,
    /// The image that holds its code, to count images in use. It is never unmapped.
    _image: Option<Arc<Image>>,
}

// SAFETY: the contract lets the host call an instance's hooks from any thread, and several at once; the SDK
// requires a plugin to be `Send + Sync`.
unsafe impl Send for NativeHooks {}
// SAFETY: as for `Send`.
unsafe impl Sync for NativeHooks {}

impl NativeHooks {
    /// Makes an instance of a module, in the place of an old one of the same module if there is one. This runs the plugin's
    /// code, which may take long: never on the request path.
    pub(crate) fn create(
        module: PluginModuleRef,
        config: &str,
        host: Arc<HostServices>,
        image: Option<Arc<Image>>,
        old: Option<&dyn Hooks>,
    ) -> Result<Self, Failure> {
        let mut reply = HookReply::default();
        let call = Parameters::new(CreateCall {
            name: RStr::from_str(host.name()),
            config: RStr::from_str(config),
            host: host.raw(),
            old: old.and_then(|old| old.as_any().downcast_ref()).map(Self::object).into(),
            answer: reply::handle(&mut reply),
        });
        let running = Running::mark(host.name());
        // SAFETY: the module is of this ABI (checked when it was loaded, or compiled in), and the table of parameters
        // outlives the call.
        let made = unsafe { module.create()(CreateCallRef(call.lend())) };
        drop(running);
        match made.into_option() {
            Some(raw) if raw.object.is_null() => Err(Failure::error("gave an instance whose object is null")),
            Some(raw) => Ok(Self { raw, host, _image: image }),
            None => Err(reply.failure.unwrap_or_else(|| Failure::error("gave no reason"))),
        }
    }

    /// Makes an instance of a compiled-in plugin by a function of the embedder's.
    pub(crate) fn by_hand(make: Make, host: Arc<HostServices>) -> Result<Self, Failure> {
        let raw = make(host.name(), host.raw()).map_err(Failure::error)?;
        if raw.object.is_null() {
            return Err(Failure::error("gave an instance whose object is null"));
        }
        Ok(Self { raw, host, _image: None })
    }

    /// Returns the JSON Schema of a module's configuration, as text.
    pub(crate) fn config_schema(module: PluginModuleRef) -> Result<String, Failure> {
        let mut reply = HookReply::default();
        // SAFETY: the module is of this ABI (checked when it was loaded, or compiled in).
        let code = unsafe { module.config_schema()(reply::handle(&mut reply)) };
        match reply.answer {
            Answer::Response(schema) if code == HOOK_CONTINUE => {
                Ok(String::from_utf8_lossy(&schema.to_bytes()).into_owned())
            }
            _ => Err(reply.failure.unwrap_or_else(|| Failure::error("gave no schema"))),
        }
    }

    fn object(&self) -> RRef<'_, InstanceObject> {
        // SAFETY: the plugin's object is live until `drop`.
        unsafe { RRef::from_raw(self.raw.object) }
    }
}

impl Hooks for NativeHooks {
    fn call<'f>(&'f self, call: HookCall<'f>, cx: &mut task::Context<'_>) -> FirstPoll<'f> {
        let HookCall { context, input, reply, memory } = call;
        let table = self.raw.table;
        let object = self.object();
        let context = context::handle(context);
        let answer = reply::handle(reply);
        let memory = lent_memory::handle(memory);
        let running = Running::mark(self.host.name());
        let polled = cx.with_ffi_context(|waker| {
            // SAFETY: every hook is called with the object that stands beside its table, with a table of parameters that
            // outlives the call, and with handles on parts of the request that stay borrowed for `'f` (see the head of
            // `boundary`).
            unsafe {
                match input {
                    HookInput::Pre(body) => table.pre_hook().flatten().map(|hook| {
                        let request = document::handle(body);
                        let call = Parameters::new(RequestCall { context, request, answer, memory });
                        hook(object, RequestCallRef(call.lend()), waker)
                    }),
                    // If it is missing, `pre_hook` is called (rule S1).
                    HookInput::PreStream(body) => {
                        table.pre_stream_hook().flatten().or(table.pre_hook().flatten()).map(|hook| {
                            let request = document::handle(body);
                            let call = Parameters::new(RequestCall { context, request, answer, memory });
                            hook(object, RequestCallRef(call.lend()), waker)
                        })
                    }
                    HookInput::Post(outcome) => table.post_hook().flatten().map(|hook| {
                        let outcome = outcome::handle(outcome);
                        let call = Parameters::new(OutcomeCall { context, outcome, answer, memory });
                        hook(object, OutcomeCallRef(call.lend()), waker)
                    }),
                    HookInput::Chunk(chunk) => table.on_stream_chunk().flatten().map(|hook| {
                        let event = RStr::from_str(chunk.event.as_deref().unwrap_or_default());
                        let chunk = document::handle(&mut chunk.body);
                        let call = Parameters::new(ChunkCall { context, event, chunk, answer, memory });
                        hook(object, ChunkCallRef(call.lend()), waker)
                    }),
                    HookInput::PostStream(report) => table.post_stream_hook().flatten().map(|hook| {
                        let report = outcome::report_handle(report);
                        let call = Parameters::new(ReportCall { context, report, answer, memory });
                        hook(object, ReportCallRef(call.lend()), waker)
                    }),
                    HookInput::Text(text) => table.on_text().flatten().map(|hook| {
                        let call = text::parameters(text, context, answer, memory);
                        hook(object, TextCallRef(call.lend()), waker)
                    }),
                    HookInput::ToolCall(it) => table.on_tool_call().flatten().map(|hook| {
                        let call = tool_call::parameters(it, context, answer, memory);
                        hook(object, ToolCallRef(call.lend()), waker)
                    }),
                    HookInput::Beside(body) => table.beside().flatten().map(|hook| {
                        let request = document::read_only_handle(body);
                        let call = Parameters::new(RequestCall { context, request, answer, memory });
                        hook(object, RequestCallRef(call.lend()), waker)
                    }),
                    HookInput::Complete(report) => table.on_complete().flatten().map(|hook| {
                        let report = outcome::report_handle(report);
                        let call = Parameters::new(ReportCall { context, report, answer, memory });
                        hook(object, ReportCallRef(call.lend()), waker)
                    }),
                }
            }
        });
        drop(running);
        match polled {
            None => FirstPoll::Ready(Decision::Continue),
            Some(HookPoll::Ready(code)) => FirstPoll::Ready(decode(code)),
            Some(HookPoll::Pending(future)) => {
                // Futures of the SDK never report a panic of their `poll`; those of another SDK might.
                let mut future = std::panic::AssertUnwindSafe(future).catch_unwind();
                let future = poll_fn(move |cx| {
                    let _running = Running::mark(self.host.name());
                    future.poll_unpin(cx)
                });
                FirstPoll::Pending(future.map(|code| code.map_or(FAILED, decode)).boxed())
            }
        }
    }

    fn hooks(&self) -> HookSet {
        let table = self.raw.table;
        let has = |hook: &HookKind| match hook {
            HookKind::Pre => table.pre_hook().flatten().is_some(),
            HookKind::Post => table.post_hook().flatten().is_some(),
            // If it is missing, `pre_hook` is called (rule S1).
            HookKind::PreStream => {
                table.pre_stream_hook().flatten().is_some() || table.pre_hook().flatten().is_some()
            }
            HookKind::Chunk => table.on_stream_chunk().flatten().is_some(),
            HookKind::PostStream => table.post_stream_hook().flatten().is_some(),
            HookKind::Complete => table.on_complete().flatten().is_some(),
            HookKind::Cleanup => table.cleanup().flatten().is_some(),
            HookKind::Text => table.on_text().flatten().is_some(),
            HookKind::ToolCall => table.on_tool_call().flatten().is_some(),
            HookKind::Beside => table.beside().flatten().is_some(),
        };
        HookKind::ALL.into_iter().filter(has).collect()
    }

    fn release_state(&self, slot: &mut StateSlot) {
        let state = std::mem::replace(slot.get_mut(), ptr::null_mut());
        if !state.is_null() {
            // SAFETY: this instance put the pointer there, for this function, and gets it back once.
            unsafe { self.raw.table.drop_state()(state.cast::<StateObject>()) }
        }
    }

    fn as_any(&self) -> &dyn Any {
        self
    }

    fn clean_up(&self, timeout: Duration) -> BoxFuture<'_, Result<(), Failure>> {
        Box::pin(async move {
            let cleaned = self.call_cleanup(timeout).await;
            self.host.stop_tasks().await;
            cleaned
        })
    }
}

impl NativeHooks {
    async fn call_cleanup(&self, timeout: Duration) -> Result<(), Failure> {
        let Some(cleanup) = self.raw.table.cleanup().flatten() else { return Ok(()) };
        let mut reply = HookReply::default();
        let object = self.object();
        let lent = &mut reply;
        let call = Calling::new(move |waker: &mut FfiContext<'_>| {
            let (answer, memory) = (reply::handle(lent), lent_memory::none());
            let call = Parameters::new(CleanupCall { answer, memory });
            // SAFETY: the object stands beside its table, and lives as long as `self`; the table of parameters outlives
            // the call.
            unsafe { cleanup(object, CleanupCallRef(call.lend()), waker) }
        });
        let mut call = std::panic::AssertUnwindSafe(call).catch_unwind();
        let call = poll_fn(move |cx| {
            let _running = Running::mark(self.host.name());
            call.poll_unpin(cx)
        });
        match self.host.timeout(timeout, call).await.map(|code| code.unwrap_or(HOOK_FAILED)) {
            Some(HOOK_CONTINUE) if reply.failure.is_none() => Ok(()),
            Some(_) => Err(reply.failure.unwrap_or_else(|| Failure::error("gave no reason"))),
            None => Err(Failure {
                kind: FailureKind::Timeout,
                message: format!("ran past its timeout of {timeout:?}"),
            }),
        }
    }
}

impl Drop for NativeHooks {
    fn drop(&mut self) {
        self.host.close();
        let _running = Running::mark(self.host.name());
        // SAFETY: the host owns the instance and gives it back here, once; no hook is under way, since a
        // hook borrows the instance.
        unsafe { self.raw.table.drop()(self.raw.object) }
    }
}
