//! The hooks beside one call of a provider (rules B1 to B6).
//!
//! `ask` polls them together with the call, in the task of the request. Each has a draft of the context, so that no hook waits
//! for another one and nothing takes a lock. Deliberately absent: the call itself, and the consequences of a refusal.

use std::{
    future::{Future, poll_fn},
    mem,
    pin::pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use futures_util::{StreamExt, future::BoxFuture, stream};

use super::{
    body::Body,
    call::Calls,
    collected::Collected,
    context::RequestContext,
    hook::{Answer, Decision, StateSlot},
    kind::{FailureKind, HookKind},
    memory::HookMemory,
    snapshot::{Entry, Snapshot},
    states::States,
};
use crate::{
    cancel::Cancel,
    document::Document,
    error::Error,
    provider::{Event, Events},
};

/// Most bytes of a stream that wait for the verdicts. Beyond them the upstream waits.
const MOST_HELD: usize = 256 * 1024;

/// The hooks beside one call.
pub(super) struct Beside<'s> {
    /// By priority, lowest first.
    hooks: Vec<Hook<'s>>,
}

enum Hook<'s> {
    Runs(BoxFuture<'s, Verdict>),
    /// The hook has allowed the answer, and has set these values and headers.
    Allowed(Collected),
}

/// The end of one hook.
enum Verdict {
    Allow(Collected),
    Refuse(Refusal),
    /// The request must end.
    Cancelled,
}

/// The refusal of one hook.
pub(super) struct Refusal {
    pub(super) instance: Arc<str>,
    pub(super) error: Error,
    pub(super) allow_fallback: bool,
    /// True if the hook has failed, and the instance has `on_error = "fail"` (rule B5).
    pub(super) has_failed: bool,
    /// The values and headers that the hook has set.
    pub(super) collected: Collected,
}

/// The reason for which the answer of the provider is not sent.
pub(super) enum Stop {
    Refused(Box<Refusal>),
    /// The request must end.
    Cancelled,
}

/// A part of a stream that waited for the verdicts.
pub(super) struct Held {
    pub(super) events: Vec<Result<Event, Error>>,
    /// True if nothing follows it.
    pub(super) is_end: bool,
}

impl Held {
    /// Returns the whole stream: this part, and the rest.
    pub(super) fn before(self, rest: Events) -> Events {
        match (self.events.is_empty(), self.is_end) {
            (true, false) => rest,
            (_, true) => Box::pin(stream::iter(self.events)),
            (false, false) => Box::pin(stream::iter(self.events).chain(rest)),
        }
    }
}

impl<'s> Beside<'s> {
    /// The hooks of a snapshot for the call that comes next. They start with its first poll.
    pub(super) fn new(
        snapshot: &'s Snapshot,
        states: &'s mut States,
        context: &RequestContext,
        request: &Document,
        timeout: Duration,
        cancel: &Cancel,
    ) -> Self {
        let mut hooks = Vec::new();
        if snapshot.has(HookKind::Beside) {
            let entries = snapshot.entries.iter().zip(states.all());
            for (entry, state) in entries.filter(|(entry, _)| entry.has(HookKind::Beside)) {
                let calls = Calls::new(timeout).until(cancel);
                let body = Body::read_only(request.clone());
                hooks.push(Hook::Runs(Box::pin(judge(entry, state, context.draft(), body, calls))));
            }
        }
        Self { hooks }
    }

    /// Waits for the call, while the hooks run.
    ///
    /// # Errors
    ///
    /// If a hook refuses before the call is ready. The call is dropped in the same poll.
    pub(super) async fn during<T>(&mut self, call: impl Future<Output = T>) -> Result<T, Stop> {
        let mut call = pin!(call);
        poll_fn(|cx| {
            if let Poll::Ready(Err(stop)) = self.poll(cx) {
                return Poll::Ready(Err(stop));
            }
            call.as_mut().poll(cx).map(Ok)
        })
        .await
    }

    /// Waits for the rest of the verdicts.
    pub(super) async fn finish(&mut self) -> Result<(), Stop> {
        poll_fn(|cx| self.poll(cx)).await
    }

    /// Waits for the rest of the verdicts, and reads a bounded part of the stream meanwhile.
    pub(super) async fn hold(&mut self, events: &mut Events) -> (Held, Result<(), Stop>) {
        let (mut held, mut bytes) = (Held { events: Vec::new(), is_end: false }, 0);
        let verdicts = poll_fn(|cx| {
            if let Poll::Ready(verdicts) = self.poll(cx) {
                return Poll::Ready(verdicts);
            }
            while !held.is_end && bytes < MOST_HELD {
                match ready!(events.poll_next_unpin(cx)) {
                    // An event costs something besides its data.
                    Some(event) => {
                        bytes += 64 + event.as_ref().map_or(0, |event| event.data.len());
                        held.events.push(event);
                    }
                    None => held.is_end = true,
                }
            }
            Poll::Pending
        })
        .await;
        (held, verdicts)
    }

    /// Returns the values and headers that the hooks have set, in the order in which they are merged.
    pub(super) fn into_collected(self) -> Vec<Collected> {
        let allowed = self.hooks.into_iter().filter_map(|hook| match hook {
            Hook::Allowed(collected) => Some(collected),
            Hook::Runs(_) => None,
        });
        allowed.collect()
    }

    /// Polls all hooks. Ready with the first refusal, or when all have allowed the answer. After a refusal, the other hooks are
    /// cancelled.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Stop>> {
        let mut allowed = true;
        for hook in &mut self.hooks {
            let Hook::Runs(future) = hook else { continue };
            let stop = match future.as_mut().poll(cx) {
                Poll::Pending => {
                    allowed = false;
                    continue;
                }
                Poll::Ready(Verdict::Allow(collected)) => {
                    *hook = Hook::Allowed(collected);
                    continue;
                }
                Poll::Ready(Verdict::Refuse(refusal)) => Stop::Refused(Box::new(refusal)),
                Poll::Ready(Verdict::Cancelled) => Stop::Cancelled,
            };
            self.hooks.clear();
            return Poll::Ready(Err(stop));
        }
        if allowed { Poll::Ready(Ok(())) } else { Poll::Pending }
    }
}

/// Calls one hook.
async fn judge(
    entry: &Entry,
    state: &mut StateSlot,
    mut context: RequestContext,
    mut request: Body,
    mut calls: Calls,
) -> Verdict {
    let mut memory = HookMemory::default();
    calls.restart().await;
    let lent = (state, &mut memory);
    let called = calls.call_lent(HookKind::Beside, entry, &mut context, lent, &mut request).await;
    let (error, allow_fallback, has_failed) = match called {
        Ok(Decision::ShortCircuit) => {
            calls.take_metadata(entry, &mut context);
            match mem::take(&mut calls.reply.answer) {
                Answer::Error(error, allow_fallback) => (error, allow_fallback, false),
                // `HookReply::check` has refused it.
                _ => (Error::plugin_failure(), false, true),
            }
        }
        Err(failure) if failure.kind == FailureKind::Cancelled => return Verdict::Cancelled,
        Err(_) if entry.fails_request => (Error::plugin_failure(), false, true),
        _ => return Verdict::Allow(context.collected),
    };
    let (instance, collected) = (entry.name.clone(), context.collected);
    Verdict::Refuse(Refusal { instance, error, allow_fallback, has_failed, collected })
}
