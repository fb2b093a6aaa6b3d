//! Puts what goes on of a text into a chunk.

use serde_json::Value;

use crate::pipeline::{
    body::{Chunk, EditRefused},
    kind::HookKind,
    turn::{Stop, Turn},
};

/// Chunks that go on before the one that was passed.
pub(crate) type Released = Vec<Chunk>;

/// Sets a text in a chunk.
pub(super) fn set(turn: &Turn<'_>, chunk: &mut Chunk, pointer: &str, text: &str) -> Result<(), Stop> {
    let json = Value::from(text).to_string();
    match chunk.body.edit(json.len(), |document| document.set(pointer, &json)) {
        Ok(()) => {
            chunk.body.commit();
            Ok(())
        }
        Err(EditRefused::TooLarge) => {
            turn.refuse(HookKind::Text, "the edited text makes the chunk too large")
        }
        Err(_) => turn.refuse(HookKind::Text, "the edited text has no place in the chunk"),
    }
}

/// Removes the log probabilities below a place, because they belong to another text. `empty` is the JSON for none.
pub(super) fn clear_probabilities(chunk: &mut Chunk, base: &str, empty: &str) {
    let place = format!("{base}/logprobs");
    if chunk.document().and_then(|document| document.get(&place)).is_some_and(|json| json != empty) {
        let cleared = chunk.body.edit(0, |document| document.set(&place, empty));
        debug_assert!(cleared.is_ok(), "a member that was read can be set");
        chunk.body.commit();
    }
}
