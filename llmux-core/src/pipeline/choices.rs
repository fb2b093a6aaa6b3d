//! Chunks with choices: which choices have ended, and new chunks that look like others.

use super::body::Chunk;
use crate::document::Document;

/// Returns the `index` of a choice or a tool call.
pub(super) fn index(document: &Document, base: &str) -> Option<u32> {
    document.get(&format!("{base}/index"))?.parse().ok()
}

/// Returns the index of the choice at a place in the list of choices.
pub(super) fn index_at(document: &Document, at: usize) -> u32 {
    index(document, &format!("/choices/{at}")).unwrap_or(at as u32)
}

/// Returns the choices that have a reason why they ended: the place of each in the list, and its index. Some providers state an
/// empty reason in each chunk.
pub(super) fn finished(document: &Document) -> Vec<(usize, u32)> {
    let reason = |at: &usize| {
        let reason = document.get_str(&format!("/choices/{at}/finish_reason"));
        reason.is_some_and(|reason| !reason.is_empty())
    };
    let choices = (0..document.len("/choices").unwrap_or_default()).filter(reason);
    choices.map(|at| (at, index_at(document, at))).collect()
}

/// Makes a chunk with these choices, a JSON list. The other members of the chunk are those of the pattern.
pub(super) fn chunk_like(pattern: &Document, choices: &str) -> Chunk {
    let mut document = pattern.clone();
    let set = document.set("/choices", choices);
    debug_assert!(set.is_ok(), "a chunk is an object");
    if document.get("/usage").is_some_and(|usage| usage != "null") {
        // The usage is that of the whole stream, and stands in one chunk.
        let _ = document.set("/usage", "null");
    }
    Chunk::of(None, &document)
}
