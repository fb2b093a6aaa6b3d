//! What a hook answers: a code, and for more than a code, calls to the answer table.

use abi_stable::{
    StableAbi,
    sabi_types::RMut,
    std_types::{RSlice, RStr},
};
use async_ffi::BorrowingFfiFuture;

use super::{stream::RawStream, value::RawValue};

/// Go on; of a chunk, forward it; of a producer, there is no further chunk.
pub const HOOK_CONTINUE: u32 = 0;
/// The answer holds a response, a stream or an error: a short circuit.
pub const HOOK_SHORT_CIRCUIT: u32 = 1;
/// Leave this chunk out.
pub const HOOK_DROP: u32 = 2;
/// The answer holds the chunks that take this one's place; of a producer, its next chunks.
pub const HOOK_REPLACE: u32 = 3;
/// The answer holds the error with which the stream ends.
pub const HOOK_END: u32 = 4;
/// The hook itself failed; the answer says how. Any code not listed here counts as this one.
pub const HOOK_FAILED: u32 = 5;

/// `failed` kind: the hook returned an error.
pub const FAILURE_ERROR: u32 = 0;
/// `failed` kind: the hook panicked.
pub const FAILURE_PANIC: u32 = 1;

/// What a hook call gives at once.
#[repr(C, u8)]
#[derive(StableAbi)]
pub enum HookPoll<'a> {
    /// The hook is done; a code.
    Ready(u32),
    /// The hook waits. The future borrows what the call was lent; dropping it cancels the hook.
    Pending(BorrowingFfiFuture<'a, u32>),
}

/// Where a hook puts its answer, inside the host.
#[repr(C)]
#[derive(StableAbi)]
pub struct AnswerObject {
    opaque: [u8; 0],
}

/// A handle on an answer: host memory, valid until the hook call that received it ends.
#[repr(C)]
#[derive(StableAbi)]
pub struct RawAnswer<'a> {
    /// The answer.
    pub object: RMut<'a, AnswerObject>,
    /// What can be done with it.
    pub table: AnswerTableRef,
}

/// Functions of an answer, implemented by the host. JSON that does not parse makes the hook a failed one.
#[repr(C)]
#[derive(StableAbi)]
#[sabi(kind(Prefix(prefix_ref = AnswerTableRef)))]
#[sabi(missing_field(option))]
pub struct AnswerTable {
    /// Answers with a response: JSON. Also how a module hands out its configuration's schema.
    pub respond: unsafe extern "C" fn(object: RMut<'_, AnswerObject>, response: RStr<'_>),
    /// Answers with a stream of chunks. The host owns it from here on, whatever becomes of the answer.
    pub respond_stream: unsafe extern "C" fn(object: RMut<'_, AnswerObject>, stream: RawStream),
    /// Answers with an error document (see `outcome`), and whether a fallback may follow.
    pub reject: unsafe extern "C" fn(object: RMut<'_, AnswerObject>, error: RStr<'_>, allow_fallback: bool),
    /// Adds metadata to a short circuit: it is merged into the context's values.
    pub metadata: unsafe extern "C" fn(object: RMut<'_, AnswerObject>, key: RStr<'_>, value: RawValue<'_>),
    /// Emits a chunk: the event's name (empty for none) and its data, JSON.
    pub emit: unsafe extern "C" fn(object: RMut<'_, AnswerObject>, event: RStr<'_>, data: RStr<'_>),
    /// Ends the stream with an error document.
    pub end_stream: unsafe extern "C" fn(object: RMut<'_, AnswerObject>, error: RStr<'_>),
    /// Says how the hook failed: a kind ([`FAILURE_ERROR`], [`FAILURE_PANIC`]) and a message for the host's log.
    #[sabi(last_prefix_field)]
    pub failed: unsafe extern "C" fn(object: RMut<'_, AnswerObject>, kind: u32, message: RStr<'_>),
}

/// A list of texts.
pub type Texts<'a> = RSlice<'a, RStr<'a>>;
