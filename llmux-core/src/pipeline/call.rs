//! Calls one hook of one instance: its timeout, its time, its failure.
//!
//! A hook that is ready at once costs one reading of the clock (the end of one call is the start of the next)
//! and no timer; one that waits gets a timer when it first does.

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use futures_util::future::BoxFuture;
use tokio::time::{Sleep, sleep};

use super::{
    clock::{Clock, Limit},
    context::RequestContext,
    detached::Cancel,
    hook::{Answer, Failure, FailureKind, Frame, HookKind, Started, Subject},
    snapshot::Entry,
};
use llmux_abi::raw::flow::HOOK_FAILED;

/// A poll that takes longer than this blocks other requests, and is worth a warning.
const LONG_POLL: Duration = Duration::from_millis(10);

/// The calls of one chain, one after the other.
pub(crate) struct Calls {
    /// What the last hook answered.
    pub(crate) answer: Answer,
    /// The time at which the last one ended.
    clock: Clock,
    timeout: Duration,
    /// Where hooks are dropped when the caller goes away.
    cancel: Option<Cancel>,
}

impl Calls {
    /// Calls with this timeout each, which end however long the caller waits.
    pub(crate) fn new(timeout: Duration) -> Self {
        Self { answer: Answer::default(), clock: Clock::start(), timeout, cancel: None }
    }

    /// The same, until the caller goes away.
    pub(crate) fn until(self, cancel: &Cancel) -> Self {
        Self { cancel: Some(cancel.clone()), ..self }
    }

    /// Something else took its time between two calls.
    pub(crate) fn restart(&mut self) {
        self.clock = Clock::start();
    }

    /// Calls the hook of the instance at this place of the snapshot. `Ok` is a code other than "failed"; after
    /// an `Err`, what the hook edited is undone, and the failure is logged and counted.
    pub(crate) async fn call(
        &mut self,
        entry: &Entry,
        at: usize,
        context: &mut RequestContext,
        mut subject: Subject<'_>,
    ) -> Result<u32, Failure> {
        let Self { answer, clock, timeout, cancel } = self;
        let kind = subject.kind();
        let limit = Limit { started: *clock, timeout: *timeout };
        answer.reset();
        context.at = at;
        context.limit = limit;
        let state = State::Start(Frame { context, subject: subject.reborrow(), answer });
        let cancel = cancel.as_ref();
        let (result, took) = Polled { entry, kind, limit, clock, cancel, state, waits: None }.await;
        let result = match result {
            Ok(code) if code < HOOK_FAILED && answer.failure.is_none() => {
                let checked = subject.check().and_then(|()| answer.check(kind, code));
                checked.map(|()| code).map_err(Failure::error)
            }
            Ok(code) => Err(answer.failure.take().unwrap_or_else(|| {
                Failure::error(format!("answered with the code {code}, which this host does not know"))
            })),
            Err(kind) => Err(Failure { kind, message: message(kind, *timeout) }),
        };
        let failure = result.as_ref().err().map(|failure| failure.kind);
        entry.stats.record(kind, took, failure);
        match &result {
            Ok(_) => {
                context.collected.commit();
                subject.commit();
            }
            Err(failure) => {
                context.collected.roll_back();
                subject.roll_back();
                log(entry, kind, context, failure);
            }
        }
        result
    }
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
    limit: Limit,
    clock: &'f mut Clock,
    cancel: Option<&'f Cancel>,
    state: State<'f>,
    /// Once it waits: the timer.
    waits: Option<Pin<Box<Sleep>>>,
}

enum State<'f> {
    Start(Frame<'f>),
    Waiting(BoxFuture<'f, u32>),
    Done,
}

impl<'f> Future for Polled<'f> {
    /// A code, or how it failed; and how long it took.
    type Output = (Result<u32, FailureKind>, Duration);

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        if this.cancel.is_some_and(Cancel::is_cancelled) {
            this.state = State::Done;
            return Poll::Ready((Err(FailureKind::Cancelled), this.took(Duration::ZERO)));
        }
        if this.waits.is_some() {
            *this.clock = Clock::start();
        }
        let polled = match std::mem::replace(&mut this.state, State::Done) {
            State::Start(frame) => match this.entry.instance().start(frame, cx) {
                Started::Ready(code) => Poll::Ready(code),
                Started::Waiting(future) => {
                    this.state = State::Waiting(future);
                    Poll::Pending
                }
            },
            State::Waiting(mut future) => {
                let polled = future.as_mut().poll(cx);
                if polled.is_pending() {
                    this.state = State::Waiting(future);
                }
                polled
            }
            State::Done => return Poll::Pending,
        };
        let busy = this.clock.lap();
        if busy > LONG_POLL {
            tracing::warn!(
                instance = &*this.entry.name,
                hook = this.kind.as_str(),
                milliseconds = busy.as_millis() as u64,
                "a plugin blocks the thread: it should wait, or move long work to a thread of its own"
            );
        }
        if let Poll::Ready(code) = polled {
            return Poll::Ready((Ok(code), this.took(busy)));
        }
        let timeout = this.limit.timeout;
        let timer = this.waits.get_or_insert_with(|| Box::pin(sleep(timeout.saturating_sub(busy))));
        if timer.as_mut().poll(cx).is_ready() {
            // The hook is cancelled here: dropping it is the plugin's code too.
            this.state = State::Done;
            return Poll::Ready((Err(FailureKind::Timeout), this.took(busy)));
        }
        Poll::Pending
    }
}

impl Polled<'_> {
    /// How long it took: the one poll, or all of the wait.
    fn took(&self, busy: Duration) -> Duration {
        if self.waits.is_some() { self.limit.started.elapsed() } else { busy }
    }
}
