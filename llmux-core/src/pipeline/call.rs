//! Calls one hook of one instance: with a timeout, timed, and rolled back if it fails.
//!
//! A hook that is ready at once costs one reading of the clock (the end of one call is the start of the next) and no
//! timer, and no future of the host's. A hook that waits gets both at its first wait. The waker of the task is read once for
//! the calls that follow each other.

use std::{
    future::{Future, poll_fn},
    mem,
    pin::pin,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    task::{Context, Poll, Waker},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use futures_util::future::BoxFuture;
use tokio::time::sleep;

use super::{
    clock::{Clock, Limit},
    context::RequestContext,
    hook::{CallContext, Decision, FirstPoll, HookCall, HookReply, StateSlot, Subject},
    kind::{Failure, FailureKind, HookKind},
    memory::HookMemory,
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
    /// Waker of the task in which the calls are made. It is read once for several calls.
    waker: Waker,
    /// If set, hooks are dropped when the request must end.
    cancel: Option<Cancel>,
}

impl Calls {
    /// Makes calls with this timeout each. They run to their end even if the caller goes away. The first call comes after
    /// [`restart`](Self::restart).
    pub(crate) fn new(timeout: Duration) -> Self {
        let (clock, waker) = (Clock::start(), Waker::noop().clone());
        Self { reply: HookReply::default(), clock, timeout, waker, cancel: None }
    }

    /// Makes calls that end when the request must end.
    pub(crate) fn until(self, cancel: &Cancel) -> Self {
        Self { cancel: Some(cancel.clone()), ..self }
    }

    /// Restarts the clock and reads the waker, after time that belongs to no call. Ready at once.
    pub(crate) fn restart(&mut self) -> impl Future<Output = ()> {
        poll_fn(|cx| {
            self.waker.clone_from(cx.waker());
            self.clock.restart();
            Poll::Ready(())
        })
    }

    /// Calls the hook of the instance at this place of the snapshot. `Ok` is a decision other than `Fail`. After an
    /// `Err`, the edits of the hook are undone, and the failure is logged and counted.
    pub(crate) fn call<S: Subject>(
        &mut self,
        kind: HookKind,
        (at, entry): (usize, &Entry),
        context: &mut RequestContext,
        states: &mut States,
        subject: &mut S,
    ) -> impl Future<Output = Result<Decision, Failure>> {
        self.call_lent(kind, entry, context, states.lend(at), subject)
    }

    /// Calls the hook of an instance with a place for its state and with memory of the caller's.
    pub(crate) async fn call_lent<S: Subject>(
        &mut self,
        kind: HookKind,
        entry: &Entry,
        context: &mut RequestContext,
        (state, memory): (&mut StateSlot, &mut HookMemory),
        subject: &mut S,
    ) -> Result<Decision, Failure> {
        let Self { reply, clock, timeout, waker, cancel } = self;
        let limit = Limit { started: *clock, timeout: *timeout };
        let long_poll = AtomicU64::new(0);
        let watch = Watch { entry, cancel: cancel.as_ref(), limit, long_poll };
        reply.reset();
        let mut lent = CallContext { request: &mut *context, state, limit, kind };
        let call = HookCall { context: &mut lent, input: subject.lend(kind), reply: &mut *reply, memory };
        let (decision, nanos) = match watch.start(call, clock, waker) {
            Started::Ended(decision, nanos) => (decision, nanos),
            Started::Waits(future) => Box::pin(watch.wait(future, clock, waker)).await,
        };
        let long_poll = watch.long_poll.into_inner().max(mem::take(&mut reply.longest_poll));
        if long_poll > LONG_POLL.as_nanos() as u64 {
            warn_of_long_poll(entry, kind, context, long_poll);
        }
        let (is_changed, traffic) = (subject.is_changed(), subject.take_traffic());
        // The usual case: the hook looked, and changed nothing.
        let result = match decision {
            Ok(Decision::Continue) if reply.is_empty() && !is_changed => Ok(Decision::Continue),
            decision => judge(decision, kind, reply, subject, *timeout),
        };
        let traffic = Traffic { read: traffic.read, written: traffic.written + reply.written };
        entry.stats.record(kind, nanos, result.as_ref().err().map(|failure| failure.kind), traffic);
        match &result {
            Ok(_) => {
                context.collected.commit();
                if is_changed {
                    subject.commit();
                }
            }
            Err(failure) => {
                context.collected.roll_back();
                subject.roll_back();
                log(entry, kind, context, failure);
            }
        }
        result
    }

    /// Merges the metadata of a short circuit into the values of the context (rule P2).
    pub(crate) fn take_metadata(&mut self, entry: &Entry, context: &mut RequestContext) {
        for (key, value) in mem::take(&mut self.reply.metadata) {
            if context.collected.set_value(key.clone(), value).is_err() {
                tracing::warn!(
                    instance = &*entry.name,
                    key = &*key,
                    request_id = &*context.request_id,
                    "metadata is too large and was left out"
                );
            }
        }
        context.collected.commit();
    }
}

/// Returns what a call comes to: its decision if the host can follow it, or its failure.
#[cold]
fn judge(
    decision: Result<Decision, FailureKind>,
    kind: HookKind,
    reply: &mut HookReply,
    subject: &impl Subject,
    timeout: Duration,
) -> Result<Decision, Failure> {
    match decision {
        Ok(Decision::Fail(code)) => Err(reply.failure.take().unwrap_or_else(|| {
            Failure::error(format!("answered with the code {code}, which this host does not know"))
        })),
        Ok(decision) => match reply.failure.take() {
            Some(failure) => Err(failure),
            None => {
                let checked = if subject.is_changed() { subject.check() } else { Ok(()) };
                let checked = checked.and_then(|()| reply.check(kind, decision));
                let checked = checked.and_then(|()| subject.check_reply(reply));
                checked.map(|()| decision).map_err(Failure::error)
            }
        },
        Err(kind) => Err(Failure { kind, message: message(kind, timeout) }),
    }
}

fn message(kind: FailureKind, timeout: Duration) -> String {
    match kind {
        FailureKind::Timeout => format!("ran past its timeout of {timeout:?}"),
        _ => "the request ended early".to_owned(),
    }
}

#[cold]
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

#[cold]
fn warn_of_long_poll(entry: &Entry, hook: HookKind, context: &RequestContext, nanos: u64) {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let Some(left_out) = entry.stats.warnings.next(now) else { return };
    tracing::warn!(
        instance = &*entry.name,
        hook = hook.as_str(),
        milliseconds = nanos / 1_000_000,
        request_id = &*context.request_id,
        left_out = (left_out > 0).then_some(left_out),
        "a plugin blocks the thread: it should wait, or move long work to a thread of its own"
    );
}

/// One call of a hook, watched: its clock, its timeout, and the end of its request.
struct Watch<'f> {
    entry: &'f Entry,
    limit: Limit,
    cancel: Option<&'f Cancel>,
    /// Nanoseconds of the longest poll that is longer than [`LONG_POLL`], or 0. It is logged after the call, because until
    /// then the request is lent to the hook.
    long_poll: AtomicU64,
}

/// A call after its first poll: its end and its duration in nanoseconds, or the rest of the hook.
enum Started<'f> {
    Ended(Result<Decision, FailureKind>, u64),
    Waits(BoxFuture<'f, Decision>),
}

impl<'f> Watch<'f> {
    /// Calls the hook and polls it once.
    #[inline(always)] // once for each kind of hook
    fn start(&self, call: HookCall<'f>, clock: &mut Clock, waker: &Waker) -> Started<'f> {
        if self.is_over() {
            return Started::Ended(Err(FailureKind::Cancelled), 0);
        }
        let polled = self.entry.instance().call(call, &mut Context::from_waker(waker));
        let nanos = self.lap(clock);
        match polled {
            FirstPoll::Ready(decision) => Started::Ended(Ok(decision), nanos),
            FirstPoll::Pending(future) => Started::Waits(future),
        }
    }

    /// Polls the rest of a hook until it ends, its time is over, or the request must end. In the last two cases the hook is
    /// dropped, which is the plugin's code too.
    async fn wait(
        &self,
        mut future: BoxFuture<'f, Decision>,
        clock: &mut Clock,
        waker: &mut Waker,
    ) -> (Result<Decision, FailureKind>, u64) {
        let spent = self.limit.started.elapsed();
        let mut timer = pin!(sleep(self.limit.timeout.saturating_sub(spent)));
        let decision = poll_fn(|cx| {
            // It is polled again at once: a plugin may return a future that it has never polled, and the request may have moved
            // to another task since its waker was read.
            waker.clone_from(cx.waker());
            if self.is_over() {
                return Poll::Ready(Err(FailureKind::Cancelled));
            }
            clock.restart();
            let polled = future.as_mut().poll(cx);
            self.lap(clock);
            if let Poll::Ready(decision) = polled {
                return Poll::Ready(Ok(decision));
            }
            timer.as_mut().poll(cx).map(|()| Err(FailureKind::Timeout))
        })
        .await;
        drop(future);
        (decision, self.limit.started.elapsed().as_nanos() as u64)
    }

    /// Returns true if the request must end.
    fn is_over(&self) -> bool {
        self.cancel.is_some_and(Cancel::is_raised)
    }

    /// Returns the nanoseconds of a poll. A long one is kept.
    #[inline]
    fn lap(&self, clock: &mut Clock) -> u64 {
        let nanos = clock.lap();
        if nanos > LONG_POLL.as_nanos() as u64 {
            self.long_poll.fetch_max(nanos, Relaxed);
        }
        nanos
    }
}
