//! The end of a request: `on_complete` of every instance, in a task of its own (rule C1).

use std::{mem, sync::Arc};

use super::{
    call::Calls,
    contain::{caught, settled},
    in_flight::InFlight,
    kind::HookKind,
    report::{Later, Report},
    snapshot::Snapshot,
    usage::{Meter, late_usage},
    waiting::Turn,
};

/// Calls `on_complete` of every instance of the snapshot, last one first, and then drops the request's states.
pub(super) fn complete(mut request: Box<InFlight>, snapshot: Arc<Snapshot>, mut report: Report) {
    let all = snapshot.entries.len();
    let calls = snapshot.turns(HookKind::Complete, all).count();
    // The caller must not wait for the plugins.
    if calls == 0 && !request.states.take_time() {
        return;
    }
    report.answered_by = mem::take(&mut request.answered_by);
    report.attempts = mem::take(&mut request.attempts);
    let shared = request.shared.clone();
    let bytes = report.size() + request.original.size();
    let Some(place) = shared.completions.enter(bytes, &shared.config) else {
        return shared.completions.drop_calls(calls);
    };
    // Boxed, because a task copies its future several times.
    tokio::spawn(Box::pin(async move {
        let max = shared.config.max_waiting_completions.div_ceil(4);
        request.context.read_only = true;
        for attempt in &mut report.attempts {
            let late = match attempt.later.take() {
                Some(Later::Answer(answer, sent)) => Meter::of_response(&answer).usage(&sent),
                Some(Later::Stream(events)) => {
                    let late = caught(async { Ok(late_usage(events).await) }).await;
                    settled(&request.context.request_id, late).ok().flatten()
                }
                None => None,
            };
            attempt.usage = late.or(attempt.usage);
        }
        let usages = report.attempts.iter().filter_map(|attempt| attempt.usage);
        report.usage = usages.reduce(|sum, usage| sum + usage);
        let mut calls = Calls::new(shared.config.post_hook_timeout);
        calls.restart().await;
        for (at, entry) in snapshot.turns(HookKind::Complete, all).rev() {
            let Some(_turn) = Turn::take(&entry.stats.completing, max) else {
                shared.completions.drop_calls(1);
                continue;
            };
            let InFlight { context, states, .. } = &mut *request;
            // A failure is logged and counted by the call; the request cannot fail any more.
            let _ = calls.call(HookKind::Complete, (at, entry), context, states, &mut report).await;
        }
        // The states are released before the place is free.
        drop(request);
        drop(place);
    }));
}
