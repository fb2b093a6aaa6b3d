//! The flag that a caller's departure raises.
//!
//! `pipeline::detached` raises it; whatever waits on behalf of a request is guarded by it. Deliberately absent: a
//! waker. The task that raises the flag also polls the whole request again.

use std::{
    future::{Future, poll_fn},
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::Poll,
};

/// A flag that is raised once, when the caller of a request goes away. Clones share it.
#[derive(Clone, Default)]
pub(crate) struct Cancel(Arc<AtomicBool>);

impl Cancel {
    /// Raises the flag. The caller of this function must then poll the request again.
    pub(crate) fn raise(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Returns true once the caller has gone away.
    pub(crate) fn is_cancelled(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    /// Waits for a future; returns `None` once the caller has gone away.
    pub(crate) async fn guard<F: Future>(&self, future: F) -> Option<F::Output> {
        let mut future = pin!(future);
        poll_fn(|cx| {
            if self.is_cancelled() {
                return Poll::Ready(None);
            }
            future.as_mut().poll(cx).map(Some)
        })
        .await
    }
}
