//! Answers of hooks: a code, and the answer table for everything beyond a code.
//!
//! The host implements the answer table. A plugin calls it during the hook call that was lent the answer, on one thread
//! at a time. The host copies all text. This file and `stream` import each other, see there.

use std::marker::PhantomData;

use abi_stable::{StableAbi, sabi_types::RMut, std_types::RStr};
use async_ffi::BorrowingFfiFuture;

use super::{stream::RawStream, value::RawValue};

/// Continue. For a chunk: forward it. For a producer: there are no more chunks.
pub const HOOK_CONTINUE: u32 = 0;
/// Short circuit: the answer holds a response, a stream or an error.
pub const HOOK_SHORT_CIRCUIT: u32 = 1;
/// Drop this chunk, or remove this tool call.
pub const HOOK_DROP: u32 = 2;
/// Replace this chunk by the chunks in the answer. For a producer: the answer holds the next chunks.
pub const HOOK_REPLACE: u32 = 3;
/// End the stream, or the request of a text or a tool call, with the error in the answer.
pub const HOOK_END: u32 = 4;
/// The hook itself failed; the answer holds the reason. The host treats every unknown code as this one.
pub const HOOK_FAILED: u32 = 5;

/// `failed` kind: the hook returned an error.
pub const FAILURE_ERROR: u32 = 0;
/// `failed` kind: the hook panicked.
pub const FAILURE_PANIC: u32 = 1;
/// `failed` kind: the process that ran the hook has ended. Only a host that runs plugins in other processes uses it.
pub const FAILURE_CRASHED: u32 = 2;

/// The result of the first poll of a hook.
#[repr(C, u8)]
#[derive(StableAbi)]
pub enum HookPoll<'a> {
    /// The hook is done, with this code.
    Ready(u32),
    /// The hook waits. The future borrows everything that the fields of the parameters lend, and resolves to the code.
    /// Dropping it cancels the hook.
    Pending(BorrowingFfiFuture<'a, u32>),
}

/// Memory that the host lends for the future of one call, so that a hook which does not wait allocates nothing. A plugin
/// may put anything there, or nothing. It must have dropped what it put there when the hook is ready, or in the drop of
/// the future that the hook returned.
#[repr(C)]
#[derive(StableAbi, Clone, Copy)]
pub struct RawMemory<'a> {
    /// The first byte, aligned to 16 bytes. Null if `size` is 0.
    pub start: *mut u8,
    /// The number of bytes.
    pub size: usize,
    /// The time for which the memory is lent.
    pub lent: PhantomData<&'a mut ()>,
}

/// The answer of one hook call, inside the host.
#[repr(C)]
#[derive(StableAbi)]
pub struct AnswerObject {
    opaque: [u8; 0],
}

/// A handle on an answer: host memory, valid until the hook call that received it ends.
#[repr(C)]
#[derive(StableAbi, Clone, Copy)]
pub struct RawAnswer<'a> {
    /// The answer.
    pub object: *mut AnswerObject,
    /// The functions that take this object.
    pub table: AnswerTableRef,
    /// The time for which the object is lent.
    pub lent: PhantomData<&'a mut ()>,
}

/// Functions of an answer, implemented by the host. If a text is not the JSON that the function expects, the hook
/// counts as failed.
#[repr(C)]
#[derive(StableAbi)]
#[sabi(kind(Prefix(prefix_ref = AnswerTableRef)))]
#[sabi(missing_field(option))]
pub struct AnswerTable {
    /// Answers with a response: a JSON object. Also used by `PluginModule::config_schema` to return the schema.
    pub respond: unsafe extern "C" fn(object: RMut<'_, AnswerObject>, response: RStr<'_>),
    /// Answers with a stream of chunks. From this call on the host owns the stream, also if the answer is not used.
    pub respond_stream: unsafe extern "C" fn(object: RMut<'_, AnswerObject>, stream: RawStream),
    /// Answers with an error document (see `outcome`). `allow_fallback` states whether a fallback may follow.
    pub reject: unsafe extern "C" fn(object: RMut<'_, AnswerObject>, error: RStr<'_>, allow_fallback: bool),
    /// Adds metadata to a short circuit; the host merges it into the context's values.
    pub metadata: unsafe extern "C" fn(object: RMut<'_, AnswerObject>, key: RStr<'_>, value: RawValue<'_>),
    /// Emits a chunk: the event's name (empty for none) and its data, as JSON.
    pub emit: unsafe extern "C" fn(object: RMut<'_, AnswerObject>, event: RStr<'_>, data: RStr<'_>),
    /// Ends the stream with an error document.
    pub end_stream: unsafe extern "C" fn(object: RMut<'_, AnswerObject>, error: RStr<'_>),
    /// States the reason of a failure: a kind ([`FAILURE_ERROR`], [`FAILURE_PANIC`]) and a message for the host's log.
    pub failed: unsafe extern "C" fn(object: RMut<'_, AnswerObject>, kind: u32, message: RStr<'_>),
    /// States that the response or the stream of a short circuit is a copy of an earlier answer.
    #[sabi(last_prefix_field)]
    pub cached: unsafe extern "C" fn(object: RMut<'_, AnswerObject>),
    /// Puts another text in the place of the one that the hook received, without the end that it holds. Since 0.2.2.
    pub edit_text: unsafe extern "C" fn(object: RMut<'_, AnswerObject>, text: RStr<'_>),
    /// Holds the end of the text that the hook received, from this byte on. The host presents it again, together with the text
    /// that follows. The byte starts a character, or is the length of the text. Without effect if the text ends here. Since
    /// 0.2.2.
    pub hold_text: unsafe extern "C" fn(object: RMut<'_, AnswerObject>, from: usize),
    /// Holds the whole text until it ends: the hook is called again only then. Without effect if the text ends here. Since
    /// 0.2.2.
    pub hold_whole_text: unsafe extern "C" fn(object: RMut<'_, AnswerObject>),
    /// Puts this name and these arguments in the place of those of the tool call that the hook received. The name is not empty.
    /// The arguments are JSON if those of the call are. Since 0.2.2.
    pub edit_tool_call:
        unsafe extern "C" fn(object: RMut<'_, AnswerObject>, name: RStr<'_>, arguments: RStr<'_>),
}
