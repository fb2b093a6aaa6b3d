//! From the contract's `extern "C"` functions to the trait, and from a panic to an answer.
//!
//! # Why this is sound
//!
//! An instance is a `Box<Shell<P>>` whose pointer the host gets from `create` and gives back to `drop`, after
//! its last hook: until then every hook may borrow it. What a hook call is lent lives for `'a`, and the
//! future that the call hands out carries `'a`.
//!
//! No function here unwinds. A hook's future is wrapped in [`Contained`], which catches a panic of its `poll`
//! and of its `drop`; [`caught`] also contains a payload that panics when it is dropped. What runs outside of
//! those is code of this crate that does not panic.

#![allow(unsafe_code)]

use std::{
    any::Any,
    borrow::Borrow,
    future::{Future, poll_fn},
    marker::PhantomData,
    mem,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::{Pin, pin},
    task::{Context as TaskContext, Poll},
};

use abi_stable::{
    prefix_type::WithMetadata,
    sabi_types::{RMut, RRef},
    std_types::{RNone, ROption, RSome, RStr},
};
use async_ffi::{BorrowingFfiFuture, FfiContext};

use super::{
    chunk::Chunk,
    context::Context,
    flow::BoxedSource,
    handle::{
        Answer, ContextHandle, Document, HostHandle, LogTarget, OutcomeHandle, ReportHandle, drop_state,
    },
    host::Host,
    manifest::Exported,
    outcome::{Completion, Outcome, StreamEnd},
    plugin::Plugin,
    request::Request,
    tracing,
};
use crate::raw::{
    context::{RawContext, StateObject},
    document::RawDocument,
    flow::{CONTINUE, END, FAILED, HookPoll, REPLACE, RawAnswer},
    host::RawHost,
    outcome::{RawOutcome, RawReport, RawStream, StreamObject, StreamTable, StreamTableRef},
    plugin::{InstanceObject, PluginModule, PluginModuleRef, PluginTable, PluginTableRef, RawInstance},
};

/// A plugin compiled into the host: its manifest and its module.
#[derive(Clone)]
pub struct Compiled {
    /// The manifest, as JSON.
    pub manifest: String,
    /// The way to instances.
    pub module: PluginModuleRef,
}

/// A plugin that was compiled into the host, for the host to make instances of.
pub fn compiled<P: Plugin + Exported>() -> Compiled {
    Compiled { manifest: P::MANIFEST.json(), module: module::<P>() }
}

/// The module of a plugin.
pub const fn module<P: Plugin>() -> PluginModuleRef {
    PluginModuleRef(Tables::<P>::MODULE.as_prefix())
}

/// An instance made by hand, of a plugin compiled into the host: `make` is given the host as the plugin
/// sees it.
///
/// # Errors
///
/// Those of `make`, and its panic.
pub fn instance<P: Plugin>(
    name: &str,
    host: RawHost,
    make: impl FnOnce(Host) -> super::error::Result<P>,
) -> Result<RawInstance, String> {
    let host = Host::new(HostHandle::retain(host), name);
    let plugin = caught(|| tracing::scope(&host, || make(host.clone())))
        .map_err(|panic| format!("panicked: {panic}"))?
        .map_err(|error| error.to_string())?;
    let shell = Box::new(Shell { plugin, host });
    let object = Box::into_raw(shell).cast::<InstanceObject>();
    Ok(RawInstance { object, table: PluginTableRef(Tables::<P>::HOOKS.as_prefix()) })
}

/// What an `InstanceObject` is.
struct Shell<P> {
    plugin: P,
    host: Host,
}

struct Tables<P>(PhantomData<P>);

impl<P: Plugin> Tables<P> {
    abi_stable::staticref! {
        const MODULE: WithMetadata<PluginModule> = WithMetadata::new(PluginModule {
            create: create::<P>,
            config_schema: config_schema::<P>,
            attach,
        });
        const HOOKS: WithMetadata<PluginTable> = WithMetadata::new(PluginTable {
            drop_state: drop_state_caught,
            drop: drop_instance::<P>,
            pre_hook: pre_hook::<P>,
            post_hook: post_hook::<P>,
            pre_stream_hook: pre_stream_hook::<P>,
            on_stream_chunk: on_stream_chunk::<P>,
            post_stream_hook: post_stream_hook::<P>,
            on_complete: on_complete::<P>,
            cleanup: cleanup::<P>,
        });
    }
}

// --- panics ---

/// Runs foreign code. A panic becomes its message; a payload that panics when dropped is leaked.
fn caught<R>(run: impl FnOnce() -> R) -> Result<R, String> {
    catch_unwind(AssertUnwindSafe(run)).map_err(|payload| {
        let message = panic_message(&*payload);
        if let Err(second) = catch_unwind(AssertUnwindSafe(|| drop(payload))) {
            mem::forget(second);
        }
        message
    })
}

/// What a panic said.
pub(crate) fn panic_message(payload: &(dyn Any + Send)) -> String {
    let text = payload.downcast_ref::<&str>().copied();
    text.or_else(|| payload.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("(a payload that is no text)")
        .to_owned()
}

/// Foreign code under way: neither its `poll` nor its `drop` unwinds.
struct Contained<F, H: Borrow<Host>> {
    /// Pinned with `self`; gone once it is done.
    future: Option<F>,
    host: H,
}

impl<F: Future, H: Borrow<Host>> Contained<F, H> {
    /// Polls it, and makes something of its output; both are the plugin's code. A panic is its message.
    fn poll<R>(
        self: Pin<&mut Self>,
        cx: &mut TaskContext<'_>,
        finish: impl FnOnce(F::Output) -> R,
    ) -> Poll<Result<R, String>> {
        // SAFETY: `future` is never moved out: it is polled, and dropped, in place.
        let this = unsafe { self.get_unchecked_mut() };
        // SAFETY: as above.
        let mut future = unsafe { Pin::new_unchecked(&mut this.future) };
        let host = this.host.borrow();
        let polled = caught(|| {
            tracing::scope(host, || {
                let Some(running) = future.as_mut().as_pin_mut() else { return Poll::Pending };
                let polled = running.poll(cx).map(finish);
                if polled.is_ready() {
                    future.set(None);
                }
                polled
            })
        });
        match polled {
            Ok(polled) => polled.map(Ok),
            Err(panic) => Poll::Ready(Err(panic)),
        }
    }
}

impl<F, H: Borrow<Host>> Drop for Contained<F, H> {
    fn drop(&mut self) {
        let future = &mut self.future;
        if future.is_some() {
            // The host is told by the panic hook's log line: the call may be long over. Dropped in place.
            let _ = caught(|| tracing::scope(self.host.borrow(), || *future = None));
        }
    }
}

/// A hook under way, whose result becomes an answer and a code.
struct Guarded<'a, F: Future> {
    hook: Contained<F, &'a Host>,
    answer: Answer<'a>,
    finish: fn(F::Output, &mut Answer<'a>) -> u32,
}

impl<F: Future> Future for Guarded<'_, F> {
    type Output = u32;

    fn poll(self: Pin<&mut Self>, cx: &mut TaskContext<'_>) -> Poll<u32> {
        // SAFETY: `hook` is pinned with `self`, and nothing moves it.
        let this = unsafe { self.get_unchecked_mut() };
        // SAFETY: as above.
        let hook = unsafe { Pin::new_unchecked(&mut this.hook) };
        let (answer, finish) = (&mut this.answer, this.finish);
        hook.poll(cx, |output| finish(output, answer)).map(|done| {
            done.unwrap_or_else(|panic| {
                this.answer.panicked(&panic);
                FAILED
            })
        })
    }
}

/// Polls a hook once; what is not ready goes to the host as a future.
fn start<'a, F>(
    host: &'a Host,
    answer: RawAnswer<'a>,
    waker: &mut FfiContext<'_>,
    hook: F,
    finish: fn(F::Output, &mut Answer<'a>) -> u32,
) -> HookPoll<'a>
where
    F: Future + Send + 'a,
{
    let answer = Answer::new(answer);
    let mut guarded = Box::pin(Guarded { hook: Contained { future: Some(hook), host }, answer, finish });
    match waker.with_context(|cx| guarded.as_mut().poll(cx)) {
        Poll::Ready(code) => HookPoll::Ready(code),
        Poll::Pending => HookPoll::Pending(BorrowingFfiFuture::new(guarded)),
    }
}

/// A hook's error becomes a failure.
fn fail(error: &super::error::Error, answer: &mut Answer<'_>) -> u32 {
    answer.failed(error.message());
    FAILED
}

/// A task beside the requests whose panic ends only itself.
pub(crate) async fn guarded_task(host: Host, task: impl Future<Output = ()> + Send + 'static) {
    let mut task = pin!(Contained { future: Some(task), host });
    // The panic hook has told the host.
    let _ = poll_fn(|cx| task.as_mut().poll(cx, |()| ())).await;
}

// --- the module ---

unsafe extern "C" fn create<P: Plugin>(
    name: RStr<'_>,
    config: RStr<'_>,
    host: RawHost,
    answer: RawAnswer<'_>,
) -> ROption<RawInstance> {
    let made = instance::<P>(name.as_str(), host, |host| {
        let config = serde_json::from_str(config.as_str())
            .map_err(|error| super::error::Error::new(format!("configuration: {error}")))?;
        P::new(config, host)
    });
    match made {
        Ok(instance) => RSome(instance),
        Err(message) => {
            Answer::new(answer).failed(&message);
            RNone
        }
    }
}

unsafe extern "C" fn config_schema<P: Plugin>(answer: RawAnswer<'_>) -> u32 {
    let mut answer = Answer::new(answer);
    let schema = caught(|| schemars::schema_for!(P::Config).as_value().to_string());
    match schema {
        Ok(schema) => {
            answer.respond(&schema);
            CONTINUE
        }
        Err(panic) => {
            answer.panicked(&panic);
            FAILED
        }
    }
}

unsafe extern "C" fn attach(host: RawHost) {
    let _ = caught(|| tracing::install(HostHandle::retain(host)));
}

/// Where an instance's events go.
pub(crate) fn log_target(host: &Host) -> LogTarget {
    // SAFETY: `tracing::scope` borrows the host for as long as the target is in use.
    unsafe { LogTarget::of(host.handle()) }
}

/// Where events go that belong to no instance.
pub(crate) fn image_log_target(host: &HostHandle) -> LogTarget {
    // SAFETY: `tracing::install` keeps the handle in a static beside the target, or drops both.
    unsafe { LogTarget::of(host) }
}

// --- the hooks ---

/// The instance behind an object.
///
/// # Safety
///
/// The object is one that `instance::<P>` made, and not dropped before `'a` ends.
unsafe fn shell<'a, P>(object: RRef<'a, InstanceObject>) -> &'a Shell<P> {
    // SAFETY: promised by the caller.
    unsafe { object.transmute_into_ref::<Shell<P>>() }
}

unsafe extern "C" fn pre_hook<'a, P: Plugin>(
    object: RRef<'a, InstanceObject>,
    context: RawContext<'a>,
    request: RawDocument<'a>,
    answer: RawAnswer<'a>,
    waker: &mut FfiContext<'_>,
) -> HookPoll<'a> {
    // SAFETY: this table goes with objects of `P` only.
    let Shell { plugin, host } = unsafe { shell::<P>(object) };
    let hook = async move {
        let mut context = Context::new(ContextHandle::new(context));
        let mut request = Request::new(Document::new(request));
        plugin.pre_hook(&mut context, &mut request).await
    };
    start(host, answer, waker, hook, |flow, answer| match flow {
        Ok(flow) => flow.answer(answer),
        Err(error) => fail(&error, answer),
    })
}

unsafe extern "C" fn pre_stream_hook<'a, P: Plugin>(
    object: RRef<'a, InstanceObject>,
    context: RawContext<'a>,
    request: RawDocument<'a>,
    answer: RawAnswer<'a>,
    waker: &mut FfiContext<'_>,
) -> HookPoll<'a> {
    // SAFETY: this table goes with objects of `P` only.
    let Shell { plugin, host } = unsafe { shell::<P>(object) };
    let hook = async move {
        let mut context = Context::new(ContextHandle::new(context));
        let mut request = Request::new(Document::new(request));
        (host, plugin.pre_stream_hook(&mut context, &mut request).await)
    };
    start(host, answer, waker, hook, |(host, flow), answer| match flow {
        Ok(flow) => flow.answer(host, answer),
        Err(error) => fail(&error, answer),
    })
}

unsafe extern "C" fn post_hook<'a, P: Plugin>(
    object: RRef<'a, InstanceObject>,
    context: RawContext<'a>,
    outcome: RawOutcome<'a>,
    answer: RawAnswer<'a>,
    waker: &mut FfiContext<'_>,
) -> HookPoll<'a> {
    // SAFETY: this table goes with objects of `P` only.
    let Shell { plugin, host } = unsafe { shell::<P>(object) };
    let hook = async move {
        let mut context = Context::new(ContextHandle::new(context));
        let mut outcome = Outcome::new(OutcomeHandle::new(outcome));
        plugin.post_hook(&mut context, &mut outcome).await
    };
    start(host, answer, waker, hook, |done, answer| match done {
        Ok(()) => CONTINUE,
        Err(error) => fail(&error, answer),
    })
}

unsafe extern "C" fn on_stream_chunk<'a, P: Plugin>(
    object: RRef<'a, InstanceObject>,
    context: RawContext<'a>,
    event: RStr<'a>,
    chunk: RawDocument<'a>,
    answer: RawAnswer<'a>,
    waker: &mut FfiContext<'_>,
) -> HookPoll<'a> {
    // SAFETY: this table goes with objects of `P` only.
    let Shell { plugin, host } = unsafe { shell::<P>(object) };
    let event = event.as_str();
    let hook = async move {
        let mut context = Context::new(ContextHandle::new(context));
        let mut chunk = Chunk::new(event, Document::new(chunk));
        (event, plugin.on_stream_chunk(&mut context, &mut chunk).await)
    };
    start(host, answer, waker, hook, |(event, flow), answer| match flow {
        Ok(flow) => flow.answer(event, answer),
        Err(error) => fail(&error, answer),
    })
}

unsafe extern "C" fn post_stream_hook<'a, P: Plugin>(
    object: RRef<'a, InstanceObject>,
    context: RawContext<'a>,
    report: RawReport<'a>,
    answer: RawAnswer<'a>,
    waker: &mut FfiContext<'_>,
) -> HookPoll<'a> {
    // SAFETY: this table goes with objects of `P` only.
    let Shell { plugin, host } = unsafe { shell::<P>(object) };
    let hook = async move {
        let mut context = Context::new(ContextHandle::new(context));
        let mut end = StreamEnd::new(ReportHandle::new(report));
        let done = plugin.post_stream_hook(&mut context, &mut end).await;
        (done, end.emitted)
    };
    start(host, answer, waker, hook, |(done, emitted), answer| match done {
        Ok(()) => {
            for (event, data) in emitted {
                answer.emit(&event, &data);
            }
            CONTINUE
        }
        Err(error) => fail(&error, answer),
    })
}

unsafe extern "C" fn on_complete<'a, P: Plugin>(
    object: RRef<'a, InstanceObject>,
    context: RawContext<'a>,
    report: RawReport<'a>,
    answer: RawAnswer<'a>,
    waker: &mut FfiContext<'_>,
) -> HookPoll<'a> {
    // SAFETY: this table goes with objects of `P` only.
    let Shell { plugin, host } = unsafe { shell::<P>(object) };
    let hook = async move {
        let mut context = Context::new(ContextHandle::new(context));
        let completion = Completion::new(ReportHandle::new(report));
        plugin.on_complete(&mut context, &completion).await;
    };
    start(host, answer, waker, hook, |(), _| CONTINUE)
}

unsafe extern "C" fn cleanup<'a, P: Plugin>(
    object: RRef<'a, InstanceObject>,
    answer: RawAnswer<'a>,
    waker: &mut FfiContext<'_>,
) -> HookPoll<'a> {
    // SAFETY: this table goes with objects of `P` only.
    let Shell { plugin, host } = unsafe { shell::<P>(object) };
    start(host, answer, waker, plugin.cleanup(), |done, answer| match done {
        Ok(()) => CONTINUE,
        Err(error) => fail(&error, answer),
    })
}

unsafe extern "C" fn drop_state_caught(state: *mut StateObject) {
    // SAFETY: the host passes what `ContextTable::state` held, once.
    let _ = caught(|| unsafe { drop_state(state) });
}

unsafe extern "C" fn drop_instance<P: Plugin>(object: *mut InstanceObject) {
    // SAFETY: made by `Box::into_raw` in `instance::<P>`; the host gives it back once, after the last hook.
    let Shell { plugin, host } = *unsafe { Box::from_raw(object.cast::<Shell<P>>()) };
    let _ = caught(|| tracing::scope(&host, || drop(plugin)));
}

// --- streams of a plugin's own ---

/// A producer, as the contract has it.
pub(crate) fn stream(source: Box<dyn BoxedSource>, host: &Host) -> RawStream {
    let source = Source { source, host: host.clone() };
    let object = Box::into_raw(Box::new(source)).cast::<StreamObject>();
    RawStream { object, table: StreamTableRef(Source::TABLE.as_prefix()) }
}

/// What a `StreamObject` is.
struct Source {
    source: Box<dyn BoxedSource>,
    host: Host,
}

impl Source {
    abi_stable::staticref! {
        const TABLE: WithMetadata<StreamTable> =
            WithMetadata::new(StreamTable { next: next_chunk, drop: drop_stream });
    }
}

unsafe extern "C" fn next_chunk<'a>(
    object: RMut<'a, StreamObject>,
    answer: RawAnswer<'a>,
    waker: &mut FfiContext<'_>,
) -> HookPoll<'a> {
    // SAFETY: made by `stream`, and the host calls `next` one at a time, before `drop`.
    let Source { source, host } = unsafe { object.transmute_into_mut::<Source>() };
    start(host, answer, waker, source.next_event(), |event, answer| match event {
        None => CONTINUE,
        Some(Ok((name, data))) => {
            answer.emit(&name, &data);
            REPLACE
        }
        Some(Err(error)) => {
            answer.end_stream(&error.to_document());
            END
        }
    })
}

unsafe extern "C" fn drop_stream(object: *mut StreamObject) {
    // SAFETY: made by `Box::into_raw` in `stream`; the host gives it back once.
    let Source { source, host } = *unsafe { Box::from_raw(object.cast::<Source>()) };
    let _ = caught(|| tracing::scope(&host, || drop(source)));
}
