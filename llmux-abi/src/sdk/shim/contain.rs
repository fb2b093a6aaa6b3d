//! Contains panics: of a hook's poll, of its drop, of a task, and of a panic's own payload.

use std::{
    any::Any,
    borrow::Borrow,
    future::{Future, poll_fn},
    mem,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::{Pin, pin},
    task::{Context as TaskContext, Poll},
};

use async_ffi::{BorrowingFfiFuture, FfiContext};

use crate::{
    raw::flow::{HOOK_FAILED, HookPoll, RawAnswer},
    sdk::{handle::Answer, host::Host, tracing},
};

/// Runs foreign code. A panic becomes its message; a payload that panics when dropped is leaked.
pub(super) fn caught<R>(run: impl FnOnce() -> R) -> Result<R, String> {
    catch_unwind(AssertUnwindSafe(run)).map_err(|payload| {
        let message = panic_message(&*payload);
        if let Err(second) = catch_unwind(AssertUnwindSafe(|| drop(payload))) {
            mem::forget(second);
        }
        message
    })
}

/// What a panic said.
pub(crate) fn panic_message(payload: &(dyn Any + Send)) -> String {
    let text = payload.downcast_ref::<&str>().copied();
    text.or_else(|| payload.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("(a payload that is no text)")
        .to_owned()
}

/// Foreign code under way: neither its `poll` nor its `drop` unwinds.
pub(super) struct Contained<F, H: Borrow<Host>> {
    /// Pinned with `self`; gone once it is done.
    future: Option<F>,
    host: H,
}

impl<F: Future, H: Borrow<Host>> Contained<F, H> {
    /// Polls it, and makes something of its output; both are the plugin's code. A panic is its message.
    fn poll<R>(
        self: Pin<&mut Self>,
        cx: &mut TaskContext<'_>,
        finish: impl FnOnce(F::Output) -> R,
    ) -> Poll<Result<R, String>> {
        // SAFETY: `future` is never moved out: it is polled, and dropped, in place.
        let this = unsafe { self.get_unchecked_mut() };
        // SAFETY: as above.
        let mut future = unsafe { Pin::new_unchecked(&mut this.future) };
        let host = this.host.borrow();
        let polled = caught(|| {
            tracing::scope(host, || {
                let Some(running) = future.as_mut().as_pin_mut() else { return Poll::Pending };
                let polled = running.poll(cx).map(finish);
                if polled.is_ready() {
                    future.set(None);
                }
                polled
            })
        });
        match polled {
            Ok(polled) => polled.map(Ok),
            Err(panic) => Poll::Ready(Err(panic)),
        }
    }
}

impl<F, H: Borrow<Host>> Drop for Contained<F, H> {
    fn drop(&mut self) {
        let future = &mut self.future;
        if future.is_some() {
            // The host is told by the panic hook's log line: the call may be long over. Dropped in place.
            let _ = caught(|| tracing::scope(self.host.borrow(), || *future = None));
        }
    }
}

/// A hook under way, whose result becomes an answer and a code.
struct Guarded<'a, F: Future> {
    hook: Contained<F, &'a Host>,
    answer: Answer<'a>,
    finish: fn(F::Output, &mut Answer<'a>) -> u32,
}

impl<F: Future> Future for Guarded<'_, F> {
    type Output = u32;

    fn poll(self: Pin<&mut Self>, cx: &mut TaskContext<'_>) -> Poll<u32> {
        // SAFETY: `hook` is pinned with `self`, and nothing moves it.
        let this = unsafe { self.get_unchecked_mut() };
        // SAFETY: as above.
        let hook = unsafe { Pin::new_unchecked(&mut this.hook) };
        let (answer, finish) = (&mut this.answer, this.finish);
        hook.poll(cx, |output| finish(output, answer)).map(|done| {
            done.unwrap_or_else(|panic| {
                this.answer.panicked(&panic);
                HOOK_FAILED
            })
        })
    }
}

/// Polls a hook once; what is not ready goes to the host as a future.
pub(super) fn start<'a, F>(
    host: &'a Host,
    answer: RawAnswer<'a>,
    waker: &mut FfiContext<'_>,
    hook: F,
    finish: fn(F::Output, &mut Answer<'a>) -> u32,
) -> HookPoll<'a>
where
    F: Future + Send + 'a,
{
    let answer = Answer::new(answer);
    let mut guarded = Box::pin(Guarded { hook: Contained { future: Some(hook), host }, answer, finish });
    match waker.with_context(|cx| guarded.as_mut().poll(cx)) {
        Poll::Ready(code) => HookPoll::Ready(code),
        Poll::Pending => HookPoll::Pending(BorrowingFfiFuture::new(guarded)),
    }
}

/// A task beside the requests whose panic ends only itself.
pub(crate) async fn guarded_task(host: Host, task: impl Future<Output = ()> + Send + 'static) {
    let mut task = pin!(Contained { future: Some(task), host });
    // The panic hook has told the host.
    let _ = poll_fn(|cx| task.as_mut().poll(cx, |()| ())).await;
}
