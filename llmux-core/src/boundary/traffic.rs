//! Counts what plugins read and write: the bytes of JSON that cross, in both directions.
//!
//! The tables of documents, outcomes and answers report here. Behind the feature `testing`, and there off until
//! somebody asks: a call costs one load of a flag that nobody writes. Deliberately absent: whose bytes they were.
//! Who wants to know calls one plugin at a time and looks before and after.

#[cfg(feature = "testing")]
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

#[cfg(feature = "testing")]
static COUNTED: AtomicBool = AtomicBool::new(false);
#[cfg(feature = "testing")]
static READ: AtomicU64 = AtomicU64::new(0);
#[cfg(feature = "testing")]
static WRITTEN: AtomicU64 = AtomicU64::new(0);

/// A plugin was given so many bytes.
#[inline]
pub(super) fn read(_bytes: usize) {
    #[cfg(feature = "testing")]
    if COUNTED.load(Relaxed) {
        READ.fetch_add(_bytes as u64, Relaxed);
    }
}

/// A plugin gave so many bytes.
#[inline]
pub(super) fn written(_bytes: usize) {
    #[cfg(feature = "testing")]
    if COUNTED.load(Relaxed) {
        WRITTEN.fetch_add(_bytes as u64, Relaxed);
    }
}

/// Counts from here on, in this process, or no longer.
#[cfg(feature = "testing")]
pub(crate) fn count(on: bool) {
    COUNTED.store(on, Relaxed);
}

/// The bytes read and written so far.
#[cfg(feature = "testing")]
pub(crate) fn so_far() -> (u64, u64) {
    (READ.load(Relaxed), WRITTEN.load(Relaxed))
}
