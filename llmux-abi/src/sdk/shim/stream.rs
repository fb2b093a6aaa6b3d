//! A stream that a plugin produces: the contract's producer, implemented by the SDK's source.

use abi_stable::{prefix_type::WithMetadata, sabi_types::RMut};
use async_ffi::FfiContext;

use super::start::start;
use crate::{
    raw::{
        flow::{HOOK_CONTINUE, HOOK_END, HOOK_REPLACE, HookPoll},
        stream::{NextCallRef, RawStream, StreamObject, StreamTable, StreamTableRef},
    },
    sdk::{
        contain::guarded,
        handle::{HostHandle, log::scope},
        host::Host,
        source::BoxedSource,
    },
};

/// Returns the contract's producer of a source.
pub(super) fn stream(source: Box<dyn BoxedSource>, host: &Host) -> RawStream {
    let source = Source { source, host: host.handle().clone() };
    let object = Box::into_raw(Box::new(source)).cast::<StreamObject>();
    RawStream { object, table: StreamTableRef(Source::TABLE.as_prefix()) }
}

/// The source and its host, behind a `StreamObject`.
struct Source {
    source: Box<dyn BoxedSource>,
    host: HostHandle,
}

impl Source {
    abi_stable::staticref! {
        const TABLE: WithMetadata<StreamTable> =
            WithMetadata::new(StreamTable { next: next_chunk, drop: drop_stream });
    }
}

unsafe extern "C" fn next_chunk<'a>(
    object: RMut<'a, StreamObject>,
    call: NextCallRef<'a>,
    waker: &mut FfiContext<'_>,
) -> HookPoll<'a> {
    // SAFETY: made by `stream`, and the host calls `next` one at a time, before `drop`.
    let Source { source, host } = unsafe { object.transmute_into_mut::<Source>() };
    start(
        host,
        call.answer(),
        call.memory(),
        waker,
        || source.next_event(),
        |event, answer| match event {
            None => HOOK_CONTINUE,
            Some(Ok((name, data))) => {
                answer.emit(&name, &data);
                HOOK_REPLACE
            }
            Some(Err(error)) => {
                answer.end_stream(&error.to_document());
                HOOK_END
            }
        },
    )
}

unsafe extern "C" fn drop_stream(object: *mut StreamObject) {
    guarded((), || {
        // SAFETY: made by `Box::into_raw` in `stream`; the host returns it once.
        let Source { source, host } = *unsafe { Box::from_raw(object.cast::<Source>()) };
        scope(&host, || drop(source));
    });
}
