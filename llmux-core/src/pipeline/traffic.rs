//! The bytes of JSON that a plugin reads and writes in one call of a hook.
//!
//! `boundary` counts them where they cross; `call` adds them to the instance's counts.

use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

/// Bytes of JSON that crossed between host and plugin.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Traffic {
    /// Bytes that the plugin read from documents.
    pub(crate) read: u64,
    /// Bytes that the plugin wrote into documents and replies.
    pub(crate) written: u64,
}

impl std::ops::AddAssign for Traffic {
    fn add_assign(&mut self, more: Self) {
        self.read += more.read;
        self.written += more.written;
    }
}

/// A counter that a shared reference can raise. If two threads raise it at the same time, one raise may be lost: the
/// figure is for people, and a plain load and store costs a tenth of an atomic addition. For the same reason it stays at
/// its maximum of 4 GiB in one call.
#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU32);

impl Counter {
    pub(crate) fn add(&self, bytes: usize) {
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        self.0.store(self.0.load(Relaxed).saturating_add(bytes), Relaxed);
    }

    /// Returns the count and starts again at zero.
    pub(crate) fn take(&mut self) -> u64 {
        std::mem::take(self.0.get_mut()).into()
    }
}

/// A copy starts at zero: the bytes of a call are counted once.
impl Clone for Counter {
    fn clone(&self) -> Self {
        Self::default()
    }
}
