//! A request that its caller may leave: dropping it does not stop it half-way.
//!
//! The future of a request runs in its caller's task. When the caller drops it, the flag is raised and the
//! rest of the future moves to a task of its own, where it notices the flag, runs what must still run (post
//! hooks, the end of a stream, completion), and ends. So no hook is ever cut off by a caller, and a request
//! that is not left costs no task.

use std::{
    future::{Future, poll_fn},
    pin::{Pin, pin},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
};

use futures_util::future::BoxFuture;
use tokio::runtime::Handle;

/// Has the caller gone away?
#[derive(Clone, Default)]
pub(crate) struct Cancel(Arc<AtomicBool>);

impl Cancel {
    pub(crate) fn is_cancelled(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    /// Waits for a future, or gives `None` once the caller has gone. Needs no waker of its own: whoever
    /// raises the flag polls the whole request anew, in another task.
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

/// A future that ends even if it is dropped.
pub(crate) struct Detached<T: Send + 'static> {
    future: Option<BoxFuture<'static, T>>,
    cancel: Cancel,
    runtime: Handle,
}

impl<T: Send + 'static> Detached<T> {
    /// Must be called inside a tokio runtime.
    pub(crate) fn new(cancel: Cancel, future: impl Future<Output = T> + Send + 'static) -> Self {
        Self { future: Some(Box::pin(future)), cancel, runtime: Handle::current() }
    }

    /// Is it done?
    pub(crate) fn is_done(&self) -> bool {
        self.future.is_none()
    }
}

impl<T: Send + 'static> Future for Detached<T> {
    type Output = T;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<T> {
        let Some(future) = &mut self.future else { return Poll::Pending };
        let polled = future.as_mut().poll(cx);
        if polled.is_ready() {
            self.future = None;
        }
        polled
    }
}

impl<T: Send + 'static> Drop for Detached<T> {
    fn drop(&mut self) {
        if let Some(future) = self.future.take() {
            self.cancel.0.store(true, Ordering::Relaxed);
            self.runtime.spawn(future);
        }
    }
}
