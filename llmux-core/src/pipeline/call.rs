//! Calls one hook of one instance: its timeout, its time, its failure.
//!
//! A hook that is ready at once costs one reading of the clock (the end of one call is the start of the next)
//! and no timer; one that waits gets a timer when it first does.

use std::{
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use futures_util::future::BoxFuture;
use tokio::time::{Instant, Sleep, sleep_until};

use super::{
    context::RequestContext,
    detached::Cancel,
    hook::{Answer, Failure, FailureKind, Frame, HookKind, Started, Subject},
    snapshot::Entry,
};
use llmux_abi::raw::flow::FAILED;

/// A poll that takes longer than this blocks other requests, and is worth a warning.
const LONG_POLL: Duration = Duration::from_millis(10);

/// Calls a hook. `Ok` is a code that answers it, with what the answer must hold; after an `Err`, what the hook edited is undone, and the
/// failure is logged and counted. `clock` is the last reading of the clock. With `cancel`, the hook is
/// dropped when the caller goes away.
pub(crate) async fn call(
    entry: &Arc<Entry>,
    at: usize,
    context: &mut RequestContext,
    mut subject: Subject<'_>,
    answer: &mut Answer,
    timeout: Duration,
    clock: &mut Instant,
    cancel: Option<&Cancel>,
) -> Result<u32, Failure> {
    let kind = subject.kind();
    let started = *clock;
    context.at = at;
    context.deadline = started + timeout;
    let state = State::Start(Frame { context, subject: subject.reborrow(), answer });
    let deadline = started + timeout;
    let result = Polled { entry, kind, deadline, clock, cancel, state, timer: None }.await;
    let result = match result {
        Ok(code) if code < FAILED && answer.failure.is_none() => {
            let checked = subject.check().and_then(|()| answer.check(kind, code));
            checked.map(|()| code).map_err(Failure::error)
        }
        Ok(code) => Err(answer.failure.take().unwrap_or_else(|| {
            Failure::error(format!("answered with the code {code}, which this host does not know"))
        })),
        Err(kind) => Err(Failure { kind, message: message(kind, timeout) }),
    };
    let failure = result.as_ref().err().map(|failure| failure.kind);
    entry.stats.record(kind, clock.saturating_duration_since(started), failure);
    match &result {
        Ok(_) => {
            context.commit();
            subject.commit();
        }
        Err(failure) => {
            context.roll_back();
            subject.roll_back();
            log(entry, kind, context, failure);
        }
    }
    result
}

fn message(kind: FailureKind, timeout: Duration) -> String {
    match kind {
        FailureKind::Timeout => format!("ran past its timeout of {timeout:?}"),
        _ => "the caller went away".to_owned(),
    }
}

fn log(entry: &Entry, hook: HookKind, context: &RequestContext, failure: &Failure) {
    if failure.kind == FailureKind::Cancelled {
        return;
    }
    tracing::warn!(
        instance = &*entry.name,
        hook = hook.as_str(),
        failure = failure.kind.as_str(),
        request_id = &*context.request_id,
        "a plugin failed: {}",
        failure.message,
    );
}

/// A hook under way.
struct Polled<'f> {
    entry: &'f Entry,
    kind: HookKind,
    deadline: Instant,
    clock: &'f mut Instant,
    cancel: Option<&'f Cancel>,
    state: State<'f>,
    timer: Option<Pin<Box<Sleep>>>,
}

enum State<'f> {
    Start(Frame<'f>),
    Waiting(BoxFuture<'f, u32>),
    Done,
}

impl<'f> Future for Polled<'f> {
    type Output = Result<u32, FailureKind>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        if this.cancel.is_some_and(Cancel::is_cancelled) {
            this.state = State::Done;
            return Poll::Ready(Err(FailureKind::Cancelled));
        }
        let before;
        let polled = match std::mem::replace(&mut this.state, State::Done) {
            State::Start(frame) => {
                before = *this.clock;
                match this.entry.instance().start(frame, cx) {
                    Started::Ready(code) => Poll::Ready(code),
                    Started::Waiting(future) => {
                        this.state = State::Waiting(future);
                        Poll::Pending
                    }
                }
            }
            State::Waiting(mut future) => {
                before = Instant::now();
                let polled = future.as_mut().poll(cx);
                if polled.is_pending() {
                    this.state = State::Waiting(future);
                }
                polled
            }
            State::Done => return Poll::Pending,
        };
        let now = Instant::now();
        *this.clock = now;
        let busy = now.saturating_duration_since(before);
        if busy > LONG_POLL {
            tracing::warn!(
                instance = &*this.entry.name,
                hook = this.kind.as_str(),
                milliseconds = busy.as_millis() as u64,
                "a plugin blocks the thread: it should wait, or move long work to a thread of its own"
            );
        }
        if let Poll::Ready(code) = polled {
            return Poll::Ready(Ok(code));
        }
        let timer = this.timer.get_or_insert_with(|| Box::pin(sleep_until(this.deadline)));
        if timer.as_mut().poll(cx).is_ready() {
            // The hook is cancelled here: dropping it is the plugin's code too.
            this.state = State::Done;
            return Poll::Ready(Err(FailureKind::Timeout));
        }
        Poll::Pending
    }
}
