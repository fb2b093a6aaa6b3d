//! One call of a tool call hook, and the edit that it asks for.

use super::{places, subject::ToolCall};
use crate::{
    document::Document,
    pipeline::{
        body::{Body, EditRefused},
        hook::Decision,
        kind::HookKind,
        turn::{Stop, Turn},
    },
};

/// A hook's decision about a tool call.
pub(super) enum Verdict {
    /// The call goes on with this name and these arguments.
    Edit(String, String),
    /// The call goes on as it is.
    Leave,
    Remove,
}

/// Calls the tool call hook. If it fails and the request goes on without it, the call goes on as it is.
pub(super) async fn call(turn: &mut Turn<'_>, call: &mut ToolCall<'_>) -> Result<Verdict, Stop> {
    Ok(match turn.call(HookKind::ToolCall, call).await? {
        Some(Decision::Drop) => Verdict::Remove,
        Some(_) => match turn.calls.reply.tool_call.take() {
            Some((name, arguments)) => Verdict::Edit(name, arguments),
            None => Verdict::Leave,
        },
        None => Verdict::Leave,
    })
}

/// Puts texts into a body, each at its place. What is the same there stays byte for byte.
pub(super) fn set(turn: &Turn<'_>, body: &mut Body, texts: &[(String, &str)]) -> Result<(), Stop> {
    let Some(document) = body.document().cloned() else { return Ok(()) };
    let edits = texts.iter().filter(|(pointer, by)| places::text(&document, pointer) != *by);
    let edits: Vec<_> =
        edits.map(|(pointer, by)| (pointer, serde_json::Value::from(*by).to_string())).collect();
    if edits.is_empty() {
        return Ok(());
    }
    let growth = edits.iter().map(|(_, json)| json.len()).sum();
    let set =
        |document: &mut Document| edits.iter().try_for_each(|(pointer, json)| document.set(pointer, json));
    if let Err(why) = body.edit(growth, set) {
        body.roll_back();
        let why = match why {
            EditRefused::TooLarge => "the edited tool call makes the answer too large",
            _ => "the edited tool call has no place in the answer",
        };
        return turn.refuse(HookKind::ToolCall, why);
    }
    body.commit();
    Ok(())
}
