//! The memory that is lent to the future of one call.

use std::{marker::PhantomData, ptr};

use llmux_abi::raw::flow::RawMemory;

use crate::pipeline::memory::HookMemory;

/// Makes a handle on the memory of a call.
pub(super) fn handle(memory: &mut HookMemory) -> RawMemory<'_> {
    let bytes = memory.bytes();
    RawMemory { start: bytes.as_mut_ptr().cast(), size: bytes.len(), lent: PhantomData }
}

/// Lends no memory.
pub(super) fn none<'a>() -> RawMemory<'a> {
    RawMemory { start: ptr::null_mut(), size: 0, lent: PhantomData }
}
