//! The end of a request: `on_complete` of every instance, in a task of its own (rule C1).

use std::sync::{Arc, atomic::Ordering};

use super::{
    call::Calls, hook::HookInput, in_flight::InFlight, kind::HookKind, report::Report, snapshot::Snapshot,
};

/// Calls `on_complete` of every instance of the snapshot, last one first, and then drops the request's states.
pub(super) fn complete(mut request: InFlight, snapshot: Arc<Snapshot>, mut report: Report) {
    let all = snapshot.entries.len();
    let is_awaited = snapshot.with(HookKind::Complete, all).next().is_some();
    // Dropping a state runs the plugin's code, which the caller must not wait for.
    if !is_awaited && request.states.is_empty() {
        return;
    }
    let completions = request.shared.completions.clone();
    let max = request.shared.config.max_waiting_completions;
    if completions.waiting.fetch_add(1, Ordering::Relaxed) >= max {
        completions.waiting.fetch_sub(1, Ordering::Relaxed);
        if completions.dropped.fetch_add(1, Ordering::Relaxed) == 0 {
            tracing::warn!(
                "more than {max} requests wait for their on_complete hooks; further ones are dropped and counted"
            );
        }
        return;
    }
    tokio::spawn(async move {
        let mut calls = Calls::new(request.shared.config.post_hook_timeout);
        request.context.read_only = true;
        for (at, entry) in snapshot.with(HookKind::Complete, all).rev() {
            let input = HookInput::Complete(&mut report);
            // A failure is logged and counted by the call; the request cannot fail any more.
            let _ = calls.call((at, entry), &mut request.context, &mut request.states, input).await;
        }
        completions.waiting.fetch_sub(1, Ordering::Relaxed);
    });
}
