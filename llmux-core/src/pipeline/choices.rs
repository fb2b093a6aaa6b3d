//! Chunks with choices: which choices have ended.

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
