//! The chains around a provider: the pre chain by ascending priority, and the post chain in the reverse order.

use super::{
    call::Calls,
    hook::{Answer, ChunkStream, Decision},
    in_flight::InFlight,
    kind::{FailureKind, HookKind},
    outcome::Outcome,
    report::AnsweredBy,
    snapshot::Snapshot,
    text, tool_call,
    turn::{Stop, Turn},
};
use crate::{document::Document, error::Error};

/// The result of a pre chain.
pub(crate) enum PreChain {
    /// Every instance had its turn. The provider comes next.
    Continue,
    /// An instance answered.
    ShortCircuit(ShortCircuit),
    /// The request ends with this error: a plugin's failure, or the request must end.
    Fail(Error),
}

/// An instance's answer in the provider's place.
pub(crate) enum ShortCircuit {
    Response(Document),
    /// A stream of the plugin's own, and the name of the instance.
    Stream(Box<dyn ChunkStream>, std::sync::Arc<str>),
    /// An error, and whether a fallback may follow.
    Error(Error, bool),
}

/// Runs the pre chain. Afterwards, `request.ran` is the number of instances that had their turn (rule O3).
pub(crate) async fn pre(request: &mut InFlight, snapshot: &Snapshot, kind: HookKind) -> PreChain {
    let mut calls = Calls::new(request.shared.config.pre_hook_timeout).until(&request.cancel);
    calls.restart().await;
    for (at, entry) in snapshot.turns(kind, snapshot.entries.len()) {
        request.ran = at + 1;
        let edits = request.body.edits();
        let InFlight { context, states, body, .. } = &mut *request;
        let called = match entry.has(kind) {
            true => calls.call(kind, (at, entry), context, states, body).await,
            false => Ok(Decision::Continue),
        };
        match called {
            Ok(Decision::ShortCircuit) => {
                calls.take_metadata(entry, &mut request.context);
                if request.body.edits() != edits {
                    request.follow_model();
                }
                let cached = calls.reply.cached;
                entry.stats.record_short_circuit(cached);
                request.answered_by = AnsweredBy::Instance { name: entry.name.clone(), cached };
                return match std::mem::take(&mut calls.reply.answer) {
                    Answer::Response(response) => PreChain::ShortCircuit(ShortCircuit::Response(response)),
                    Answer::Stream(stream) => {
                        PreChain::ShortCircuit(ShortCircuit::Stream(stream, entry.name.clone()))
                    }
                    Answer::Error(error, allow_fallback) => {
                        PreChain::ShortCircuit(ShortCircuit::Error(error, allow_fallback))
                    }
                    // Not an answer to a pre hook: `HookReply::check` has refused it.
                    Answer::End(_) | Answer::None => PreChain::Fail(Error::plugin_failure()),
                };
            }
            Ok(_) if request.body.edits() != edits => request.follow_model(),
            Ok(_) => {}
            Err(failure) if failure.kind == FailureKind::Cancelled => {
                return PreChain::Fail(request.cancel.error());
            }
            Err(_) if entry.fails_request => return PreChain::Fail(Error::plugin_failure()),
            Err(_) => {}
        }
        if entry.has(HookKind::Text) {
            let InFlight { context, states, body, .. } = &mut *request;
            let held = &mut 0;
            let mut turn = Turn { calls: &mut calls, place: (at, entry), context, states, held };
            match text::request(&mut turn, body).await {
                Ok(()) => {}
                Err(Stop::Ended(error)) => {
                    request.end_by(entry.name.clone());
                    return PreChain::ShortCircuit(ShortCircuit::Error(error, false));
                }
                Err(Stop::Failed) => return PreChain::Fail(Error::plugin_failure()),
                Err(Stop::Cancelled) => return PreChain::Fail(request.cancel.error()),
            }
        }
    }
    request.ran = snapshot.entries.len();
    PreChain::Continue
}

/// Runs the post hooks of the instances that had their turn, last one first (rules O1, O3, O4).
pub(crate) async fn post(
    request: &mut InFlight,
    snapshot: &Snapshot,
    result: Result<Document, Error>,
) -> Result<Document, Error> {
    let mut entries = snapshot.turns(HookKind::Post, request.ran).rev().peekable();
    if entries.peek().is_none() {
        return result;
    }
    // The caller may be gone, or go now: the chain finishes without it (rule Q3).
    let mut calls = Calls::new(request.shared.config.post_hook_timeout);
    calls.restart().await;
    let config = &request.shared.config;
    let is_checked = config.refuse_unknown_text && snapshot.has(HookKind::Text) && request.binary.is_none();
    let result = result.and_then(|document| match is_checked {
        true => text::check(&document, request.context.endpoint).map(|()| document),
        false => Ok(document),
    });
    let sent = request.sent();
    let mut outcome = Outcome::new(result, sent, request.shared.config.max_body_bytes);
    if request.binary.is_some() {
        outcome = outcome.of_binary();
    }
    for (at, entry) in entries {
        if entry.has(HookKind::Text) || entry.has(HookKind::ToolCall) {
            let InFlight { context, states, .. } = &mut *request;
            let held = &mut 0;
            let mut turn = Turn { calls: &mut calls, place: (at, entry), context, states, held };
            match parts(&mut turn, &mut outcome).await {
                Ok(()) => {}
                Err(Stop::Ended(error)) => {
                    outcome.fail(error);
                    request.end_by(entry.name.clone());
                }
                Err(Stop::Failed | Stop::Cancelled) => {
                    outcome.fail(Error::plugin_failure());
                    request.answered_by = AnsweredBy::Host;
                }
            }
        }
        if !entry.has(HookKind::Post) {
            continue;
        }
        let InFlight { context, states, .. } = &mut *request;
        match calls.call(HookKind::Post, (at, entry), context, states, &mut outcome).await {
            Ok(_) if outcome.take_replaced() => {
                request.answered_by = AnsweredBy::Instance { name: entry.name.clone(), cached: false };
            }
            Err(_) if entry.fails_request => {
                outcome.fail(Error::plugin_failure());
                request.answered_by = AnsweredBy::Host;
            }
            _ => {}
        }
    }
    outcome.into_result()
}

/// Passes the texts of an answer, and then its tool calls, to an instance.
async fn parts(turn: &mut Turn<'_>, outcome: &mut Outcome) -> Result<(), Stop> {
    let (_, entry) = turn.place;
    if entry.has(HookKind::Text) {
        text::answer(turn, outcome).await?;
    }
    match entry.has(HookKind::ToolCall) {
        true => tool_call::answer(turn, outcome).await,
        false => Ok(()),
    }
}
