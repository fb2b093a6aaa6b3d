//! Calls one hook of one instance: with a timeout, timed, and rolled back if it fails.
//!
//! A hook that is ready at once costs one reading of the clock (the end of one call is the start of the next) and no
//! timer. A hook that waits gets a timer at its first wait.

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
    hook::{CallContext, Decision, FirstPoll, HookCall, HookInput, HookReply},
    kind::{Failure, FailureKind, HookKind},
    snapshot::Entry,
    states::States,
    traffic::Traffic,
};
use crate::cancel::Cancel;

/// Longest poll without a warning: a longer one blocks other requests.
const LONG_POLL: Duration = Duration::from_millis(10);

/// The calls of one chain, one after the other.
pub(crate) struct Calls {
    /// The reply of the last hook.
    pub(crate) reply: HookReply,
    /// Time at which the last call ended.
    clock: Clock,
    timeout: Duration,
    /// If set, hooks are dropped when the request must end.
    cancel: Option<Cancel>,
}

impl Calls {
    /// Makes calls with this timeout each. They run to their end even if the caller goes away.
    pub(crate) fn new(timeout: Duration) -> Self {
        Self { reply: HookReply::default(), clock: Clock::start(), timeout, cancel: None }
    }

    /// Makes calls that end when the request must end.
    pub(crate) fn until(self, cancel: &Cancel) -> Self {
        Self { cancel: Some(cancel.clone()), ..self }
    }

    /// Restarts the clock, after time that belongs to no call.
    pub(crate) fn restart(&mut self) {
        self.clock = Clock::start();
    }

    /// Calls the hook of the instance at this place of the snapshot. `Ok` is a decision other than `Fail`. After an
    /// `Err`, the edits of the hook are undone, and the failure is logged and counted.
    pub(crate) async fn call(
        &mut self,
        (at, entry): (usize, &Entry),
        context: &mut RequestContext,
        states: &mut States,
        mut input: HookInput<'_>,
    ) -> Result<Decision, Failure> {
        let Self { reply, clock, timeout, cancel } = self;
        let kind = input.kind();
        let limit = Limit { started: *clock, timeout: *timeout };
        reply.reset();
        let (state, memory) = states.lend(at);
        let mut lent = CallContext { request: &mut *context, state, limit, kind };
        let call = HookCall { context: &mut lent, input: input.reborrow(), reply: &mut *reply, memory };
        let cancel = cancel.as_ref();
        let state = State::Start(call);
        let (result, took) = Polled { entry, kind, limit, clock, cancel, state, timer: None }.await;
        let result = match result {
            Ok(Decision::Fail(code)) => Err(reply.failure.take().unwrap_or_else(|| {
                Failure::error(format!("answered with the code {code}, which this host does not know"))
            })),
            Ok(decision) => match reply.failure.take() {
                Some(failure) => Err(failure),
                None => {
                    let checked = input.check().and_then(|()| reply.check(kind, decision));
                    checked.map(|()| decision).map_err(Failure::error)
                }
            },
            Err(kind) => Err(Failure { kind, message: message(kind, *timeout) }),
        };
        let failure = result.as_ref().err().map(|failure| failure.kind);
        let mut traffic = input.take_traffic();
        traffic += Traffic { read: 0, written: reply.written };
        entry.stats.record(kind, took, failure, traffic);
        match &result {
            Ok(_) => {
                context.collected.commit();
                input.commit();
            }
            Err(failure) => {
                context.collected.roll_back();
                input.roll_back();
                log(entry, kind, context, failure);
            }
        }
        result
    }
}

fn message(kind: FailureKind, timeout: Duration) -> String {
    match kind {
        FailureKind::Timeout => format!("ran past its timeout of {timeout:?}"),
        _ => "the request ended early".to_owned(),
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

/// One call of a hook, as a future.
struct Polled<'f> {
    entry: &'f Entry,
    kind: HookKind,
    limit: Limit,
    clock: &'f mut Clock,
    cancel: Option<&'f Cancel>,
    state: State<'f>,
    /// Set at the hook's first wait.
    timer: Option<Pin<Box<Sleep>>>,
}

enum State<'f> {
    Start(HookCall<'f>),
    Waiting(BoxFuture<'f, Decision>),
    Done,
}

impl<'f> Future for Polled<'f> {
    /// The decision or the kind of failure, and the duration.
    type Output = (Result<Decision, FailureKind>, Duration);

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        if this.cancel.is_some_and(Cancel::is_raised) {
            this.state = State::Done;
            return Poll::Ready((Err(FailureKind::Cancelled), this.took(Duration::ZERO)));
        }
        if this.timer.is_some() {
            *this.clock = Clock::start();
        }
        let polled = match std::mem::replace(&mut this.state, State::Done) {
            State::Start(call) => match this.entry.instance().call(call, cx) {
                FirstPoll::Ready(decision) => Poll::Ready(decision),
                FirstPoll::Pending(future) => {
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
        if let Poll::Ready(decision) = polled {
            return Poll::Ready((Ok(decision), this.took(busy)));
        }
        let timeout = this.limit.timeout;
        let timer = this.timer.get_or_insert_with(|| Box::pin(sleep(timeout.saturating_sub(busy))));
        if timer.as_mut().poll(cx).is_ready() {
            // The hook is cancelled here. Its drop is the plugin's code too.
            this.state = State::Done;
            return Poll::Ready((Err(FailureKind::Timeout), this.took(busy)));
        }
        Poll::Pending
    }
}

impl Polled<'_> {
    /// Returns the duration: of the one poll, or of the whole wait.
    fn took(&self, busy: Duration) -> Duration {
        if self.timer.is_some() { self.limit.started.elapsed() } else { busy }
    }
}
