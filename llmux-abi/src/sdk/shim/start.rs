//! The start of a hook: its first poll, and the future that runs the rest.

use std::{
    future::Future,
    pin::Pin,
    task::{Context as TaskContext, Poll},
};

use async_ffi::{BorrowingFfiFuture, FfiContext};

use super::place::Placed;
use crate::{
    raw::flow::{HOOK_FAILED, HookPoll, RawAnswer, RawMemory},
    sdk::{
        contain::{Contained, caught, guarded},
        handle::{Answer, HostHandle, log::scope},
    },
};

/// A running hook, whose result becomes an answer and a code.
struct Guarded<'a, F: Future> {
    hook: Contained<F, &'a HostHandle>,
    answer: Answer<'a>,
    finish: fn(F::Output, &mut Answer<'a>) -> u32,
}

impl<F: Future> Guarded<'_, F> {
    /// Polls the hook without a guard: the caller has one.
    #[inline]
    fn poll_bare(self: Pin<&mut Self>, cx: &mut TaskContext<'_>) -> Poll<u32> {
        // SAFETY: `hook` is pinned with `self`, and nothing moves it.
        let this = unsafe { self.get_unchecked_mut() };
        // SAFETY: as above.
        let hook = unsafe { Pin::new_unchecked(&mut this.hook) };
        let (answer, finish) = (&mut this.answer, this.finish);
        hook.poll_bare(cx, |output| finish(output, answer))
    }
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

/// Makes the future of a hook and polls it once. If the hook is not ready, returns it to the host as a future.
///
/// This is the whole body of a function of the contract: nothing unwinds out of it. One guard holds all of the plugin's code:
/// a panic is reported with its message, also one of a hook that is no `async fn`.
#[inline]
pub(super) fn start<'a, F>(
    host: &'a HostHandle,
    answer: RawAnswer<'a>,
    memory: RawMemory<'a>,
    waker: &mut FfiContext<'_>,
    hook: impl FnOnce() -> F,
    finish: fn(F::Output, &mut Answer<'a>) -> u32,
) -> HookPoll<'a>
where
    F: Future + Send + 'a,
{
    // Outside of the guard, so that it is not dropped while a panic unwinds. Its drop has a guard of its own.
    let mut placed = None;
    let polled = caught(|| {
        scope(host, || {
            let future =
                || Guarded { hook: Contained::new(hook(), host), answer: Answer::new(answer), finish };
            let placed = placed.insert(Placed::new(memory, future));
            waker.with_context(|cx| placed.pinned().poll_bare(cx))
        })
    });
    match (polled, placed) {
        (Ok(Poll::Ready(code)), _) => HookPoll::Ready(code),
        (Ok(Poll::Pending), Some(placed)) => HookPoll::Pending(BorrowingFfiFuture::new(placed)),
        (Ok(Poll::Pending), None) => HookPoll::Ready(HOOK_FAILED),
        (Err(panic), _) => {
            guarded((), || Answer::new(answer).panicked(&panic));
            HookPoll::Ready(HOOK_FAILED)
        }
    }
}
