//! One call of a text hook.

use super::subject::{Hold, Text};
use crate::pipeline::{
    kind::HookKind,
    turn::{Stop, Turn},
};

/// A hook's decision about a text that goes on.
#[derive(Default)]
pub(super) struct Verdict {
    /// The text in the place of the part that is not held.
    pub(super) text: Option<String>,
    pub(super) hold: Hold,
    /// True if the hook failed, and the request goes on without it.
    pub(super) has_failed: bool,
}

/// Calls the text hook.
pub(super) async fn call(turn: &mut Turn<'_>, text: &mut Text<'_>) -> Result<Verdict, Stop> {
    Ok(match turn.call(HookKind::Text, text).await? {
        Some(_) => {
            let reply = &mut turn.calls.reply;
            Verdict { text: reply.text.take(), hold: reply.hold, has_failed: false }
        }
        None => Verdict { has_failed: true, ..Verdict::default() },
    })
}
