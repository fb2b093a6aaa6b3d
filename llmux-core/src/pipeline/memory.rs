//! The memory that a request lends to its hooks, so that a hook which does not wait allocates nothing.
//!
//! `states` owns it, since it lives as long as the states of the request. `boundary` lends it to one call at a time.
//! Deliberately absent: what a plugin puts there.

use std::mem::MaybeUninit;

/// Bytes of the memory. The future of an ordinary hook has about 300; a larger one is allocated by the plugin.
const SIZE: usize = 1024;

/// Memory for the future of one hook. It is made at the first call.
#[derive(Default)]
pub(crate) struct HookMemory(Option<Box<Block>>);

#[repr(align(16))]
struct Block([MaybeUninit<u8>; SIZE]);

impl HookMemory {
    /// Returns the bytes, whatever they hold. They are aligned to 16 bytes.
    pub(crate) fn bytes(&mut self) -> &mut [MaybeUninit<u8>] {
        &mut self.0.get_or_insert_with(|| Box::new(Block([const { MaybeUninit::uninit() }; SIZE]))).0
    }
}
