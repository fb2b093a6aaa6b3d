//! The parameters of one call, as a table on the caller's stack, and the memory that is lent with them.

use std::{marker::PhantomData, ptr};

use abi_stable::{
    pmr::{PrefixRef, PrefixTypeTrait},
    prefix_type::WithMetadata,
};
use llmux_abi::raw::flow::RawMemory;

use crate::pipeline::memory::HookMemory;

/// A table of parameters. The callee reads it before it returns.
pub(super) struct Parameters<T: PrefixTypeTrait>(WithMetadata<T>);

impl<T: PrefixTypeTrait> Parameters<T> {
    pub(super) fn new(parameters: T) -> Self {
        Self(WithMetadata::new(parameters))
    }

    /// Returns a reference to the table.
    ///
    /// # Safety
    ///
    /// It is not used after the table is gone.
    pub(super) unsafe fn lend(&self) -> PrefixRef<T::PrefixFields> {
        // SAFETY: promised by the caller.
        unsafe { PrefixRef::from_raw(&raw const self.0) }
    }
}

/// Makes a handle on the memory of a call.
pub(super) fn memory(memory: &mut HookMemory) -> RawMemory<'_> {
    let bytes = memory.bytes();
    RawMemory { start: bytes.as_mut_ptr().cast(), size: bytes.len(), lent: PhantomData }
}

/// Lends no memory.
pub(super) fn no_memory<'a>() -> RawMemory<'a> {
    RawMemory { start: ptr::null_mut(), size: 0, lent: PhantomData }
}
