//! A request that ends in an orderly way after its caller has dropped it.
//!
//! The future of a request runs in its caller's task. If the caller drops it, the flag is raised and the rest of the
//! future moves to a task of its own. There it notices the flag, runs the hooks that must still run (post hooks, the end
//! of a stream, completion), and ends. So no caller cuts off a hook, and a request whose caller stays costs no task.

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll},
};

use futures_util::future::BoxFuture;
use tokio::runtime::Handle;

use crate::cancel::Cancel;

/// A future that runs to its end even if it is dropped.
pub(crate) struct Detached<T: Send + 'static> {
    future: Option<BoxFuture<'static, T>>,
    cancel: Cancel,
    runtime: Handle,
}

impl<T: Send + 'static> Detached<T> {
    /// Wraps a future. Must be called inside a tokio runtime.
    pub(crate) fn new(cancel: Cancel, future: impl Future<Output = T> + Send + 'static) -> Self {
        Self { future: Some(Box::pin(future)), cancel, runtime: Handle::current() }
    }

    /// Returns true once the future has ended.
    pub(crate) fn is_done(&self) -> bool {
        self.future.is_none()
    }
}

impl<T: Send + 'static> Future for Detached<T> {
    type Output = T;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<T> {
        // A future that panics is dropped, and is not polled again.
        let Some(mut future) = self.future.take() else { return Poll::Pending };
        let polled = future.as_mut().poll(cx);
        if polled.is_pending() {
            self.future = Some(future);
        }
        polled
    }
}

impl<T: Send + 'static> Drop for Detached<T> {
    fn drop(&mut self) {
        if let Some(future) = self.future.take() {
            self.cancel.raise();
            self.runtime.spawn(future);
        }
    }
}
