//! The end of a request: `on_complete` of every instance, in a task of its own (rule C1).

use std::sync::Arc;

use super::{
    call::Calls, hook::HookInput, in_flight::InFlight, kind::HookKind, report::Report, snapshot::Snapshot,
    waiting::Turn,
};

/// Calls `on_complete` of every instance of the snapshot, last one first, and then drops the request's states.
pub(super) fn complete(mut request: InFlight, snapshot: Arc<Snapshot>, mut report: Report) {
    let all = snapshot.entries.len();
    let calls = snapshot.with(HookKind::Complete, all).count();
    // Dropping a state runs the plugin's code, which the caller must not wait for.
    if calls == 0 && request.states.is_empty() {
        return;
    }
    let shared = request.shared.clone();
    let bytes = report.size() + request.original.size();
    let Some(place) = shared.completions.enter(bytes, &shared.config) else {
        return shared.completions.drop_calls(calls);
    };
    tokio::spawn(async move {
        let max = shared.config.max_waiting_completions.div_ceil(4);
        let mut calls = Calls::new(shared.config.post_hook_timeout);
        request.context.read_only = true;
        for (at, entry) in snapshot.with(HookKind::Complete, all).rev() {
            let Some(_turn) = Turn::take(&entry.stats.completing, max) else {
                shared.completions.drop_calls(1);
                continue;
            };
            let input = HookInput::Complete(&mut report);
            // A failure is logged and counted by the call; the request cannot fail any more.
            let _ = calls.call((at, entry), &mut request.context, &mut request.states, input).await;
        }
        // The states are released before the place is free.
        drop(request);
        drop(place);
    });
}
