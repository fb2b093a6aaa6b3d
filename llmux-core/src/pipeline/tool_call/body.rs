//! The tool calls of a whole body: an answer that does not stream, or the calls of one choice of a stream.

use super::{
    places::{self, Place},
    verdict::{self, Verdict},
};
use crate::{
    document::Document,
    pipeline::{
        body::Body,
        outcome::Outcome,
        turn::{Stop, Turn},
    },
};

/// Passes the tool calls of an answer to an instance, which edits the outcome. An error has none.
pub(crate) async fn answer(turn: &mut Turn<'_>, outcome: &mut Outcome) -> Result<(), Stop> {
    if outcome.is_error() || outcome.is_binary() {
        return Ok(());
    }
    let Some(document) = outcome.body().document().cloned() else { return Ok(()) };
    let places = places::of_answer(&document, turn.context.endpoint);
    pass(turn, &document, &places, outcome.body()).await
}

/// Passes calls to an instance, which edits the body that has them.
pub(super) async fn pass(
    turn: &mut Turn<'_>,
    document: &Document,
    places: &[Place],
    body: &mut Body,
) -> Result<(), Stop> {
    let mut verdicts = Vec::new();
    for place in places {
        verdicts.push(verdict::call(turn, &mut place.read(document)).await?);
    }
    apply(turn, body, places.iter().zip(verdicts))
}

/// Makes the edits of the verdicts.
pub(super) fn apply<'p>(
    turn: &Turn<'_>,
    body: &mut Body,
    verdicts: impl DoubleEndedIterator<Item = (&'p Place, Verdict)>,
) -> Result<(), Stop> {
    // A removal moves the calls that follow.
    for (place, verdict) in verdicts.rev() {
        match verdict {
            Verdict::Leave => {}
            Verdict::Edit(name, arguments) => {
                let Place { members, .. } = place;
                let texts =
                    [(place.member(members.name), &*name), (place.member(members.arguments), &*arguments)];
                verdict::set(turn, body, &texts)?;
            }
            Verdict::Remove => {
                let removed = body.edit(0, |document| {
                    document.remove(&place.base)?;
                    settle(document, place.at)
                });
                debug_assert!(removed.is_ok(), "a call that was read can be removed");
                body.commit();
            }
        }
    }
    Ok(())
}

/// Settles a choice after a removal: without calls, it has no list of them, and they are not the reason of its end.
fn settle(document: &mut Document, at: usize) -> Result<(), crate::document::EditError> {
    let calls = format!("/choices/{at}/message/tool_calls");
    let left = document.len(&calls);
    if left == Some(0) {
        document.remove(&calls)?;
    }
    let has_calls = left.is_some_and(|left| left > 0)
        || document.len(&format!("/choices/{at}/message/function_call")).is_some();
    let reason = format!("/choices/{at}/finish_reason");
    if !has_calls && matches!(document.get_str(&reason), Some("tool_calls" | "function_call")) {
        document.set(&reason, "\"stop\"")?;
    }
    Ok(())
}
