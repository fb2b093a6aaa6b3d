//! The stream table: chunks that a plugin produces and the host reads.
//!
//! This file and `flow` import each other, on purpose: an answer may carry a stream (`AnswerTable::respond_stream`),
//! and a stream returns its chunks through an answer (`StreamTable::next`). It is the only such pair in this crate.

use abi_stable::{StableAbi, sabi_types::RMut};
use async_ffi::FfiContext;

use super::flow::{HookPoll, RawAnswer, RawMemory};

/// A producer of chunks inside a plugin.
#[repr(C)]
#[derive(StableAbi)]
pub struct StreamObject {
    opaque: [u8; 0],
}

/// A stream of chunks that a plugin produces. Plugin memory; the host owns the handle and returns it once, through
/// `drop`, while no call of `next` is running.
#[repr(C)]
#[derive(StableAbi)]
pub struct RawStream {
    /// The producer.
    pub object: *mut StreamObject,
    /// The functions that take this object.
    pub table: StreamTableRef,
}

/// Parameters of [`StreamTable::next`].
#[repr(C)]
#[derive(StableAbi)]
#[sabi(kind(Prefix(prefix_ref = NextCallRef)))]
#[sabi(missing_field(option))]
pub struct NextCall<'a> {
    /// The answer of this call.
    pub answer: RawAnswer<'a>,
    /// The memory of this call.
    #[sabi(last_prefix_field)]
    pub memory: RawMemory<'a>,
}

/// Functions of a producer, implemented by the plugin.
#[repr(C)]
#[derive(StableAbi)]
#[sabi(kind(Prefix(prefix_ref = StreamTableRef)))]
#[sabi(missing_field(option))]
pub struct StreamTable {
    /// Produces the next chunks. Called when the client is ready for more, on any thread, one call at a time. Returns
    /// `HOOK_REPLACE` with the chunks emitted into the answer, `HOOK_CONTINUE` at the end, `HOOK_END` with an error in
    /// the answer, or `HOOK_FAILED`.
    pub next: for<'a> unsafe extern "C" fn(
        object: RMut<'a, StreamObject>,
        call: NextCallRef<'a>,
        waker: &mut FfiContext<'_>,
    ) -> HookPoll<'a>,
    /// Frees the producer. Called once, on any thread, when the stream has ended or the client has left.
    #[sabi(last_prefix_field)]
    pub drop: unsafe extern "C" fn(object: *mut StreamObject),
}
