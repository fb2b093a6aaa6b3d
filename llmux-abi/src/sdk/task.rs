//! A task that runs in the host: a future, or a function on a thread that may block.

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll},
};

use futures_channel::oneshot;
use futures_util::future::{AbortHandle, Abortable};

use super::error::{Error, Result};

/// A handle on a task of [`Host::spawn`](crate::Host::spawn) or [`Host::spawn_blocking`](crate::Host::spawn_blocking).
///
/// Awaiting it gives the task's value, or an error if the task was aborted, has panicked, or its instance is unloaded.
/// Dropping it does not end the task.
pub struct Task<T> {
    abort: AbortHandle,
    value: oneshot::Receiver<T>,
}

impl<T> Task<T> {
    /// Returns the handle of a future, and the future that the host runs.
    pub(super) fn of(future: impl Future<Output = T>) -> (Self, impl Future<Output = ()>) {
        let (abort, registration) = AbortHandle::new_pair();
        let (sender, value) = oneshot::channel();
        let future = Abortable::new(future, registration);
        let run = async move {
            if let Ok(value) = future.await {
                // The holder of the handle may not wait for it.
                let _ = sender.send(value);
            }
        };
        (Self { abort, value }, run)
    }

    /// Returns the handle of a function, and the function that the host runs.
    pub(super) fn blocking(run: impl FnOnce() -> T) -> (Self, impl FnOnce()) {
        let (abort, _) = AbortHandle::new_pair();
        let (sender, value) = oneshot::channel();
        let aborted = abort.clone();
        let run = move || {
            if !aborted.is_aborted() {
                let _ = sender.send(run());
            }
        };
        (Self { abort, value }, run)
    }

    /// Ends the task: its future is dropped at its next poll. A function that has begun runs to its end.
    pub fn abort(&self) {
        self.abort.abort();
    }
}

impl<T> Future for Task<T> {
    type Output = Result<T>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let value = Pin::new(&mut self.value).poll(cx);
        value.map_err(|_| Error::new("the task ended without a value: it was aborted, or has panicked"))
    }
}
