//! The chains around a provider: down by priority, and back in the reverse order.

use serde_json::json;

use super::{
    InFlight,
    call::Calls,
    hook::{FailureKind, HookKind, Said, Subject},
    outcome::Outcome,
    snapshot::Snapshot,
};
use crate::{
    boundary::PluginStream,
    document::Document,
    error::{Error, ErrorKind},
};
use llmux_abi::raw::flow::HOOK_SHORT_CIRCUIT;

/// How a pre chain ended.
pub(crate) enum Entered {
    /// Every instance had its turn; the provider comes next.
    Through,
    /// An instance answered.
    Answered(Answered),
    /// The request ends with this error, which is nobody's answer: a plugin's failure, or a caller who left.
    Ended(Error),
}

/// What an instance answered in the provider's place.
pub(crate) enum Answered {
    Response(Document),
    Stream(Box<PluginStream>),
    /// An error, and whether a fallback may follow.
    Error(Error, bool),
}

/// Runs the pre chain. Afterwards `request.ran` says how many instances had their turn (rule O3).
pub(crate) async fn pre(request: &mut InFlight, snapshot: &Snapshot, kind: HookKind) -> Entered {
    let mut calls = Calls::new(request.shared.config.pre_hook_timeout).until(&request.cancel);
    for (at, entry) in snapshot.with(kind, snapshot.entries.len()) {
        request.ran = at + 1;
        let edits = request.body.edits();
        let subject = match kind {
            HookKind::PreStream => Subject::PreStream(&mut request.body),
            _ => Subject::Pre(&mut request.body),
        };
        match calls.call(entry, at, &mut request.context, subject).await {
            Ok(HOOK_SHORT_CIRCUIT) => {
                for (key, value) in std::mem::take(&mut calls.answer.metadata) {
                    if request.context.collected.set_value(key.clone(), value).is_err() {
                        tracing::warn!(
                            instance = &*entry.name,
                            key = &*key,
                            "metadata is too large, left out"
                        );
                    }
                }
                request.context.collected.commit();
                if request.body.edits() != edits {
                    request.follow_model();
                }
                return match std::mem::take(&mut calls.answer.said) {
                    Said::Respond(response) => Entered::Answered(Answered::Response(response)),
                    Said::Stream(mut stream) => {
                        stream.instance = entry.name.clone();
                        Entered::Answered(Answered::Stream(stream))
                    }
                    Said::Reject(error, allow_fallback) => {
                        Entered::Answered(Answered::Error(error, allow_fallback))
                    }
                    // No answer to a pre hook: `Answer::check` has refused it.
                    Said::End(_) | Said::Nothing => Entered::Ended(plugin_failure()),
                };
            }
            Ok(_) if request.body.edits() != edits => request.follow_model(),
            Ok(_) => {}
            Err(failure) if failure.kind == FailureKind::Cancelled => return Entered::Ended(cancelled()),
            Err(_) if entry.fails_request => return Entered::Ended(plugin_failure()),
            Err(_) => {}
        }
    }
    request.ran = snapshot.entries.len();
    Entered::Through
}

/// Runs the post hooks of the instances that had their turn, last one first (rules O1, O3, O4).
pub(crate) async fn post(
    request: &mut InFlight,
    snapshot: &Snapshot,
    result: Result<Document, Error>,
) -> Result<Document, Error> {
    let mut entries = snapshot.with(HookKind::Post, request.ran).rev().peekable();
    if entries.peek().is_none() {
        return result;
    }
    // The caller may be gone by now, or go: the chain finishes without it (rule Q3).
    let mut calls = Calls::new(request.shared.config.post_hook_timeout);
    let sent = request.sent();
    let mut outcome = Outcome::new(result, sent, request.shared.config.max_body_bytes);
    for (at, entry) in entries {
        let subject = Subject::Post(&mut outcome);
        let called = calls.call(entry, at, &mut request.context, subject).await;
        if called.is_err() && entry.fails_request {
            outcome.fail(plugin_failure());
        }
    }
    outcome.into_result()
}

/// The error of a request that fails with a plugin. The client is not told which (rule E3).
pub(crate) fn plugin_failure() -> Error {
    Error::from_parts(
        ErrorKind::PluginFailure,
        500,
        json!({
            "message": "a plugin failed while it handled this request",
            "type": "plugin_failure", "param": null, "code": null,
        }),
        None,
    )
}

/// The error of a request whose caller went away.
pub(crate) fn cancelled() -> Error {
    Error::new(ErrorKind::Cancelled, "the caller went away")
}
