//! The hooks of the contract. Each calls one method of the trait.

use abi_stable::{sabi_types::RRef, std_types::RStr};
use async_ffi::FfiContext;

use super::{
    answer::{chunk_flow, failure, flow, stream_flow},
    start::start,
};
use crate::{
    raw::{
        context::{RawContext, StateObject},
        document::RawDocument,
        flow::{HOOK_CONTINUE, HookPoll, RawAnswer},
        outcome::{RawOutcome, RawReport},
        plugin::InstanceObject,
    },
    sdk::{
        chunk::Chunk,
        contain::guarded,
        context::Context,
        handle::{ContextHandle, Document, OutcomeHandle, ReportHandle, drop_state, log::scope},
        host::Host,
        outcome::{Completion, Outcome, StreamEnd},
        plugin::Plugin,
        request::Request,
    },
};

/// The plugin and its host, behind an `InstanceObject`.
pub(super) struct Shell<P> {
    pub(super) plugin: P,
    pub(super) host: Host,
}

/// Returns the instance behind an object.
///
/// # Safety
///
/// `instance::<P>` made the object, and the object is not dropped before `'a` ends.
unsafe fn shell<'a, P>(object: RRef<'a, InstanceObject>) -> &'a Shell<P> {
    // SAFETY: promised by the caller.
    unsafe { object.transmute_into_ref::<Shell<P>>() }
}

pub(super) unsafe extern "C" fn pre_hook<'a, P: Plugin>(
    object: RRef<'a, InstanceObject>,
    context: RawContext<'a>,
    request: RawDocument<'a>,
    answer: RawAnswer<'a>,
    waker: &mut FfiContext<'_>,
) -> HookPoll<'a> {
    // SAFETY: this table is used with objects of `P` only.
    let Shell { plugin, host } = unsafe { shell::<P>(object) };
    let hook = move || async move {
        let mut context = Context::new(ContextHandle::new(context));
        let mut request = Request::new(Document::new(request));
        plugin.pre_hook(&mut context, &mut request).await
    };
    start(host.handle(), answer, waker, hook, |result, answer| match result {
        Ok(reply) => flow(reply, answer),
        Err(error) => failure(&error, answer),
    })
}

pub(super) unsafe extern "C" fn pre_stream_hook<'a, P: Plugin>(
    object: RRef<'a, InstanceObject>,
    context: RawContext<'a>,
    request: RawDocument<'a>,
    answer: RawAnswer<'a>,
    waker: &mut FfiContext<'_>,
) -> HookPoll<'a> {
    // SAFETY: this table is used with objects of `P` only.
    let Shell { plugin, host } = unsafe { shell::<P>(object) };
    let hook = move || async move {
        let mut context = Context::new(ContextHandle::new(context));
        let mut request = Request::new(Document::new(request));
        (host, plugin.pre_stream_hook(&mut context, &mut request).await)
    };
    start(host.handle(), answer, waker, hook, |(host, result), answer| match result {
        Ok(reply) => stream_flow(reply, host, answer),
        Err(error) => failure(&error, answer),
    })
}

pub(super) unsafe extern "C" fn post_hook<'a, P: Plugin>(
    object: RRef<'a, InstanceObject>,
    context: RawContext<'a>,
    outcome: RawOutcome<'a>,
    answer: RawAnswer<'a>,
    waker: &mut FfiContext<'_>,
) -> HookPoll<'a> {
    // SAFETY: this table is used with objects of `P` only.
    let Shell { plugin, host } = unsafe { shell::<P>(object) };
    let hook = move || async move {
        let mut context = Context::new(ContextHandle::new(context));
        let mut outcome = Outcome::new(OutcomeHandle::new(outcome));
        plugin.post_hook(&mut context, &mut outcome).await
    };
    start(host.handle(), answer, waker, hook, |done, answer| match done {
        Ok(()) => HOOK_CONTINUE,
        Err(error) => failure(&error, answer),
    })
}

pub(super) unsafe extern "C" fn on_stream_chunk<'a, P: Plugin>(
    object: RRef<'a, InstanceObject>,
    context: RawContext<'a>,
    event: RStr<'a>,
    chunk: RawDocument<'a>,
    answer: RawAnswer<'a>,
    waker: &mut FfiContext<'_>,
) -> HookPoll<'a> {
    // SAFETY: this table is used with objects of `P` only.
    let Shell { plugin, host } = unsafe { shell::<P>(object) };
    let hook = move || async move {
        let event = event.as_str();
        let mut context = Context::new(ContextHandle::new(context));
        let mut chunk = Chunk::new(event, Document::new(chunk));
        (event, plugin.on_stream_chunk(&mut context, &mut chunk).await)
    };
    start(host.handle(), answer, waker, hook, |(event, result), answer| match result {
        Ok(reply) => chunk_flow(reply, event, answer),
        Err(error) => failure(&error, answer),
    })
}

pub(super) unsafe extern "C" fn post_stream_hook<'a, P: Plugin>(
    object: RRef<'a, InstanceObject>,
    context: RawContext<'a>,
    report: RawReport<'a>,
    answer: RawAnswer<'a>,
    waker: &mut FfiContext<'_>,
) -> HookPoll<'a> {
    // SAFETY: this table is used with objects of `P` only.
    let Shell { plugin, host } = unsafe { shell::<P>(object) };
    let hook = move || async move {
        let mut context = Context::new(ContextHandle::new(context));
        let mut end = StreamEnd::new(ReportHandle::new(report));
        let done = plugin.post_stream_hook(&mut context, &mut end).await;
        (done, end.emitted)
    };
    start(host.handle(), answer, waker, hook, |(done, emitted), answer| match done {
        Ok(()) => {
            for (event, data) in emitted {
                answer.emit(&event, &data);
            }
            HOOK_CONTINUE
        }
        Err(error) => failure(&error, answer),
    })
}

pub(super) unsafe extern "C" fn on_complete<'a, P: Plugin>(
    object: RRef<'a, InstanceObject>,
    context: RawContext<'a>,
    report: RawReport<'a>,
    answer: RawAnswer<'a>,
    waker: &mut FfiContext<'_>,
) -> HookPoll<'a> {
    // SAFETY: this table is used with objects of `P` only.
    let Shell { plugin, host } = unsafe { shell::<P>(object) };
    let hook = move || async move {
        let mut context = Context::new(ContextHandle::new(context));
        let completion = Completion::new(ReportHandle::new(report));
        plugin.on_complete(&mut context, &completion).await;
    };
    start(host.handle(), answer, waker, hook, |(), _| HOOK_CONTINUE)
}

pub(super) unsafe extern "C" fn cleanup<'a, P: Plugin>(
    object: RRef<'a, InstanceObject>,
    answer: RawAnswer<'a>,
    waker: &mut FfiContext<'_>,
) -> HookPoll<'a> {
    // SAFETY: this table is used with objects of `P` only.
    let Shell { plugin, host } = unsafe { shell::<P>(object) };
    start(
        host.handle(),
        answer,
        waker,
        || plugin.cleanup(),
        |done, answer| match done {
            Ok(()) => HOOK_CONTINUE,
            Err(error) => failure(&error, answer),
        },
    )
}

pub(super) unsafe extern "C" fn drop_state_caught(state: *mut StateObject) {
    // SAFETY: the host passes what `ContextTable::state` held, once.
    guarded((), || unsafe { drop_state(state) });
}

pub(super) unsafe extern "C" fn drop_instance<P: Plugin>(object: *mut InstanceObject) {
    guarded((), || {
        // SAFETY: made by `Box::into_raw` in `instance::<P>`; the host returns it once, after the last hook.
        let Shell { plugin, host } = *unsafe { Box::from_raw(object.cast::<Shell<P>>()) };
        scope(host.handle(), || drop(plugin));
    });
}
