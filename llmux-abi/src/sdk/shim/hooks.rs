//! The hooks of the contract. Each calls one method of the trait.

use abi_stable::sabi_types::RRef;
use async_ffi::FfiContext;

use super::{
    answer::{chunk_flow, failure, flow, stream_flow, text_flow, tool_flow, verdict},
    start::start,
};
use crate::{
    raw::{
        call::{
            ChunkCallRef, CleanupCallRef, InstanceObject, OutcomeCallRef, ReportCallRef, RequestCallRef,
            TextCallRef, ToolCallRef,
        },
        context::StateObject,
        flow::{HOOK_CONTINUE, HookPoll},
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
        text::Text,
        tool_call::ToolCall,
    },
};

/// The plugin and its host, behind an `InstanceObject`.
pub(super) struct Shell<P> {
    pub(super) plugin: P,
    pub(super) host: Host,
}

/// Returns the plugin behind an object.
///
/// # Safety
///
/// As for [`shell`].
pub(super) unsafe fn instance<'a, P>(object: RRef<'a, InstanceObject>) -> &'a P {
    // SAFETY: promised by the caller.
    &unsafe { shell::<P>(object) }.plugin
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
    call: RequestCallRef<'a>,
    waker: &mut FfiContext<'_>,
) -> HookPoll<'a> {
    // SAFETY: this table is used with objects of `P` only.
    let Shell { plugin, host } = unsafe { shell::<P>(object) };
    let hook = move || {
        let (context, request) = (ContextHandle::new(call.context()), Document::new(call.request()));
        async move {
            let mut context = Context::new(context);
            let mut request = Request::new(request);
            plugin.pre_hook(&mut context, &mut request).await
        }
    };
    start(host.handle(), call.answer(), call.memory(), waker, hook, |result, answer| match result {
        Ok(reply) => flow(reply, answer),
        Err(error) => failure(&error, answer),
    })
}

pub(super) unsafe extern "C" fn pre_stream_hook<'a, P: Plugin>(
    object: RRef<'a, InstanceObject>,
    call: RequestCallRef<'a>,
    waker: &mut FfiContext<'_>,
) -> HookPoll<'a> {
    // SAFETY: this table is used with objects of `P` only.
    let Shell { plugin, host } = unsafe { shell::<P>(object) };
    let hook = move || {
        let (context, request) = (ContextHandle::new(call.context()), Document::new(call.request()));
        async move {
            let mut context = Context::new(context);
            let mut request = Request::new(request);
            (host, plugin.pre_stream_hook(&mut context, &mut request).await)
        }
    };
    start(host.handle(), call.answer(), call.memory(), waker, hook, |(host, result), answer| match result {
        Ok(reply) => stream_flow(reply, host, answer),
        Err(error) => failure(&error, answer),
    })
}

pub(super) unsafe extern "C" fn post_hook<'a, P: Plugin>(
    object: RRef<'a, InstanceObject>,
    call: OutcomeCallRef<'a>,
    waker: &mut FfiContext<'_>,
) -> HookPoll<'a> {
    // SAFETY: this table is used with objects of `P` only.
    let Shell { plugin, host } = unsafe { shell::<P>(object) };
    let hook = move || {
        let (context, outcome) = (ContextHandle::new(call.context()), OutcomeHandle::new(call.outcome()));
        async move {
            let mut context = Context::new(context);
            let mut outcome = Outcome::new(outcome);
            plugin.post_hook(&mut context, &mut outcome).await
        }
    };
    start(host.handle(), call.answer(), call.memory(), waker, hook, |done, answer| match done {
        Ok(()) => HOOK_CONTINUE,
        Err(error) => failure(&error, answer),
    })
}

pub(super) unsafe extern "C" fn on_stream_chunk<'a, P: Plugin>(
    object: RRef<'a, InstanceObject>,
    call: ChunkCallRef<'a>,
    waker: &mut FfiContext<'_>,
) -> HookPoll<'a> {
    // SAFETY: this table is used with objects of `P` only.
    let Shell { plugin, host } = unsafe { shell::<P>(object) };
    let hook = move || {
        let event = call.event().as_str();
        let (context, chunk) = (ContextHandle::new(call.context()), Document::new(call.chunk()));
        async move {
            let mut context = Context::new(context);
            let mut chunk = Chunk::new(event, chunk);
            (event, plugin.on_stream_chunk(&mut context, &mut chunk).await)
        }
    };
    start(host.handle(), call.answer(), call.memory(), waker, hook, |(event, result), answer| match result {
        Ok(reply) => chunk_flow(reply, event, answer),
        Err(error) => failure(&error, answer),
    })
}

pub(super) unsafe extern "C" fn on_text<'a, P: Plugin>(
    object: RRef<'a, InstanceObject>,
    call: TextCallRef<'a>,
    waker: &mut FfiContext<'_>,
) -> HookPoll<'a> {
    // SAFETY: this table is used with objects of `P` only.
    let Shell { plugin, host } = unsafe { shell::<P>(object) };
    let hook = move || {
        let (context, mut text) = (ContextHandle::new(call.context()), Text::new(call));
        async move {
            let mut context = Context::new(context);
            let result = plugin.on_text(&mut context, &mut text).await;
            (text.into_change(), result)
        }
    };
    start(host.handle(), call.answer(), call.memory(), waker, hook, |(change, result), answer| match result {
        Ok(reply) => text_flow(reply, change, answer),
        Err(error) => failure(&error, answer),
    })
}

pub(super) unsafe extern "C" fn on_tool_call<'a, P: Plugin>(
    object: RRef<'a, InstanceObject>,
    call: ToolCallRef<'a>,
    waker: &mut FfiContext<'_>,
) -> HookPoll<'a> {
    // SAFETY: this table is used with objects of `P` only.
    let Shell { plugin, host } = unsafe { shell::<P>(object) };
    let hook = move || {
        let (context, mut tool_call) = (ContextHandle::new(call.context()), ToolCall::new(call));
        async move {
            let mut context = Context::new(context);
            let result = plugin.on_tool_call(&mut context, &mut tool_call).await;
            (tool_call, result)
        }
    };
    start(host.handle(), call.answer(), call.memory(), waker, hook, |(call, result), answer| match result {
        Ok(reply) => tool_flow(reply, &call, answer),
        Err(error) => failure(&error, answer),
    })
}

pub(super) unsafe extern "C" fn beside<'a, P: Plugin>(
    object: RRef<'a, InstanceObject>,
    call: RequestCallRef<'a>,
    waker: &mut FfiContext<'_>,
) -> HookPoll<'a> {
    // SAFETY: this table is used with objects of `P` only.
    let Shell { plugin, host } = unsafe { shell::<P>(object) };
    let hook = move || {
        let (context, request) = (ContextHandle::new(call.context()), Document::new(call.request()));
        async move {
            let mut context = Context::new(context);
            let request = Request::new(request);
            plugin.beside(&mut context, &request).await
        }
    };
    start(host.handle(), call.answer(), call.memory(), waker, hook, |result, answer| match result {
        Ok(reply) => verdict(reply, answer),
        Err(error) => failure(&error, answer),
    })
}

pub(super) unsafe extern "C" fn post_stream_hook<'a, P: Plugin>(
    object: RRef<'a, InstanceObject>,
    call: ReportCallRef<'a>,
    waker: &mut FfiContext<'_>,
) -> HookPoll<'a> {
    // SAFETY: this table is used with objects of `P` only.
    let Shell { plugin, host } = unsafe { shell::<P>(object) };
    let hook = move || {
        let (context, report) = (ContextHandle::new(call.context()), ReportHandle::new(call.report()));
        async move {
            let mut context = Context::new(context);
            let mut end = StreamEnd::new(report);
            let done = plugin.post_stream_hook(&mut context, &mut end).await;
            (done, end.emitted)
        }
    };
    start(host.handle(), call.answer(), call.memory(), waker, hook, |(done, emitted), answer| match done {
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
    call: ReportCallRef<'a>,
    waker: &mut FfiContext<'_>,
) -> HookPoll<'a> {
    // SAFETY: this table is used with objects of `P` only.
    let Shell { plugin, host } = unsafe { shell::<P>(object) };
    let hook = move || {
        let (context, report) = (ContextHandle::new(call.context()), ReportHandle::new(call.report()));
        async move {
            let mut context = Context::new(context);
            let completion = Completion::new(report);
            plugin.on_complete(&mut context, &completion).await;
        }
    };
    start(host.handle(), call.answer(), call.memory(), waker, hook, |(), _| HOOK_CONTINUE)
}

pub(super) unsafe extern "C" fn cleanup<'a, P: Plugin>(
    object: RRef<'a, InstanceObject>,
    call: CleanupCallRef<'a>,
    waker: &mut FfiContext<'_>,
) -> HookPoll<'a> {
    // SAFETY: this table is used with objects of `P` only.
    let Shell { plugin, host } = unsafe { shell::<P>(object) };
    start(
        host.handle(),
        call.answer(),
        call.memory(),
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
