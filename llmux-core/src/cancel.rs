//! The flag that ends a request early: its caller has gone away, or the time of its snapshot is over.
//!
//! `pipeline::detached` raises it; whatever waits on behalf of a request is guarded by it. Deliberately absent: a
//! waker. The task that raises the flag also polls the whole request again.

use std::{
    future::{Future, poll_fn},
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU8, Ordering},
    },
    task::Poll,
};

use crate::error::Error;

/// A flag that is raised once, when a request must end early. Clones share it.
#[derive(Clone, Default)]
pub(crate) struct Cancel(Arc<AtomicU8>);

/// Reason for which a request ends early.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Reason {
    /// The caller went away.
    Left = 1,
    /// The request still holds instances that were retired `max_drain` ago (rule O2).
    Retired = 2,
}

impl Cancel {
    /// Raises the flag, unless it is raised. The caller of this function must then poll the request again.
    pub(crate) fn raise(&self, reason: Reason) {
        let _ = self.0.compare_exchange(0, reason as u8, Ordering::Relaxed, Ordering::Relaxed);
    }

    /// Returns true once the request must end.
    pub(crate) fn is_raised(&self) -> bool {
        self.0.load(Ordering::Relaxed) != 0
    }

    /// Returns true once the request must end for this reason.
    pub(crate) fn is(&self, reason: Reason) -> bool {
        self.0.load(Ordering::Relaxed) == reason as u8
    }

    /// Returns the error that ends the request. It is meant for a flag that is raised.
    pub(crate) fn error(&self) -> Error {
        if self.is(Reason::Retired) { Error::retired() } else { Error::cancelled() }
    }

    /// Waits for a future.
    ///
    /// # Errors
    ///
    /// The error that ends the request, once the flag is raised.
    pub(crate) fn guard<F: Future + Unpin>(
        &self,
        mut future: F,
    ) -> impl Future<Output = Result<F::Output, Error>> {
        // Not an `async fn`, which would hold the future twice: as its argument, and pinned.
        poll_fn(move |cx| {
            if self.is_raised() {
                return Poll::Ready(Err(self.error()));
            }
            Pin::new(&mut future).poll(cx).map(Ok)
        })
    }
}
