//! The requests that wait for their `on_complete` hooks: bounded in number and in bytes. An instance may have a quarter of
//! them at most, so that a slow one does not cost the others their calls.
//!
//! `completion` takes a place for each request. Deliberately absent: the calls.

use std::sync::{
    Arc,
    atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed},
};

use super::config::PipelineConfig;

/// The completed requests that wait for their `on_complete` hooks, counted.
#[derive(Default)]
pub(crate) struct Completions {
    /// Number of requests that wait now.
    waiting: AtomicUsize,
    /// Bytes of their bodies.
    bytes: AtomicUsize,
    /// Number of calls that were dropped, because too many requests waited.
    pub(crate) dropped: AtomicU64,
}

/// The place of one request that waits. It is free again when this is dropped.
pub(super) struct Place {
    completions: Arc<Completions>,
    bytes: usize,
}

impl Completions {
    /// Takes a place for a request; `None` if there is none.
    pub(super) fn enter(self: &Arc<Self>, bytes: usize, config: &PipelineConfig) -> Option<Place> {
        let (waiting, held) = (self.waiting.fetch_add(1, Relaxed), self.bytes.fetch_add(bytes, Relaxed));
        let place = Place { completions: self.clone(), bytes };
        // One request always finds a place, however large it is.
        let is_full = waiting >= config.max_waiting_completions
            || waiting > 0 && held.saturating_add(bytes) > config.max_waiting_completion_bytes;
        (!is_full).then_some(place)
    }

    pub(super) fn drop_calls(&self, calls: usize) {
        if calls > 0 && self.dropped.fetch_add(calls as u64, Relaxed) == 0 {
            tracing::warn!(
                "too many requests wait for their on_complete hooks; further calls are dropped and counted"
            );
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.completions.waiting.fetch_sub(1, Relaxed);
        self.completions.bytes.fetch_sub(self.bytes, Relaxed);
    }
}

/// The turn of one request at an instance. It is over when this is dropped.
pub(super) struct Turn<'i>(&'i AtomicUsize);

impl<'i> Turn<'i> {
    pub(super) fn take(running: &'i AtomicUsize, max: usize) -> Option<Self> {
        let turn = Self(running);
        (running.fetch_add(1, Relaxed) < max).then_some(turn)
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Relaxed);
    }
}
