//! Contains panics: of a function that the host calls, of a hook's poll and drop, of a task, and of a panic's own payload.
//!
//! Used by the shim, whose every function has one [`guarded`] body, and by `host` for tasks. Deliberately absent: the
//! answer to a panic, which the caller chooses.
//!
//! # Soundness
//!
//! [`Contained`] pins its future with itself: the future is polled and dropped in place, and never moved out.

#![allow(unsafe_code)]

use std::{
    any::Any,
    borrow::Borrow,
    future::{Future, poll_fn},
    mem,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::{Pin, pin},
    task::{Context as TaskContext, Poll},
};

use super::handle::{HostHandle, log::scope};

/// Runs code of the plugin. A panic becomes its message; a payload that panics when dropped is leaked.
#[inline]
pub(crate) fn caught<R>(run: impl FnOnce() -> R) -> Result<R, String> {
    catch_unwind(AssertUnwindSafe(run)).map_err(|payload| {
        let message = panic_message(&*payload);
        if let Err(second) = catch_unwind(AssertUnwindSafe(|| drop(payload))) {
            mem::forget(second);
        }
        message
    })
}

/// Runs the body of a function of the contract. If the body panics, returns the neutral value: nothing unwinds out of an
/// `extern "C"` function.
pub fn guarded<R>(neutral: R, body: impl FnOnce() -> R) -> R {
    guarded_or(|| neutral, body)
}

/// Runs the body of a function of the contract, as [`guarded`] does. The neutral value is made when it is needed.
pub fn guarded_or<R>(neutral: impl FnOnce() -> R, body: impl FnOnce() -> R) -> R {
    caught(body).unwrap_or_else(|_| neutral())
}

/// Returns the message of a panic.
pub fn panic_message(payload: &(dyn Any + Send)) -> String {
    let text = payload.downcast_ref::<&str>().copied();
    text.or_else(|| payload.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("(a payload that is no text)")
        .to_owned()
}

/// A running future of the plugin: neither its `poll` nor its `drop` unwinds.
pub(crate) struct Contained<F, H: Borrow<HostHandle>> {
    /// Pinned with `self`. `None` once the future is done.
    future: Option<F>,
    host: H,
}

impl<F: Future, H: Borrow<HostHandle>> Contained<F, H> {
    #[inline]
    pub(crate) fn new(future: F, host: H) -> Self {
        Self { future: Some(future), host }
    }

    /// Polls the future and passes its output to `finish`; both are the plugin's code. A panic becomes its message.
    pub(crate) fn poll<R>(
        self: Pin<&mut Self>,
        cx: &mut TaskContext<'_>,
        finish: impl FnOnce(F::Output) -> R,
    ) -> Poll<Result<R, String>> {
        let (mut future, host) = self.parts();
        match caught(|| scope(host.borrow(), || poll_once(future.as_mut(), cx, finish))) {
            Ok(polled) => polled.map(Ok),
            Err(panic) => Poll::Ready(Err(panic)),
        }
    }

    /// Polls the future as [`poll`](Self::poll) does, but the guard and the scope are the caller's.
    #[inline]
    pub(crate) fn poll_bare<R>(
        self: Pin<&mut Self>,
        cx: &mut TaskContext<'_>,
        finish: impl FnOnce(F::Output) -> R,
    ) -> Poll<R> {
        poll_once(self.parts().0, cx, finish)
    }

    #[inline]
    fn parts(self: Pin<&mut Self>) -> (Pin<&mut Option<F>>, &H) {
        // SAFETY: `future` is never moved out: it is polled, and dropped, in place.
        let this = unsafe { self.get_unchecked_mut() };
        // SAFETY: as above.
        (unsafe { Pin::new_unchecked(&mut this.future) }, &this.host)
    }
}

/// Polls a future that is not done, passes its output on, and drops it once it is done.
#[inline]
fn poll_once<F: Future, R>(
    mut future: Pin<&mut Option<F>>,
    cx: &mut TaskContext<'_>,
    finish: impl FnOnce(F::Output) -> R,
) -> Poll<R> {
    let Some(running) = future.as_mut().as_pin_mut() else { return Poll::Pending };
    let polled = running.poll(cx).map(finish);
    if polled.is_ready() {
        future.set(None);
    }
    polled
}

impl<F, H: Borrow<HostHandle>> Drop for Contained<F, H> {
    fn drop(&mut self) {
        let future = &mut self.future;
        if future.is_some() {
            // The panic hook has logged the panic, and the call may have ended. The future is dropped in place.
            let _ = caught(|| scope(self.host.borrow(), || *future = None));
        }
    }
}

/// Returns a task of the plugin as a future that neither its `poll` nor its `drop` unwinds, also before its first poll. A
/// panic ends only the task itself.
pub(crate) fn guarded_task(
    host: HostHandle,
    task: impl Future<Output = ()> + Send + 'static,
) -> impl Future<Output = ()> + Send + 'static {
    // Not an `async fn`: until its first poll it would hold the task as a bare argument.
    let task = Contained::new(task, host);
    async move {
        let mut task = pin!(task);
        // The panic hook has reported the panic to the host.
        let _ = poll_fn(|cx| task.as_mut().poll(cx, |()| ())).await;
    }
}
