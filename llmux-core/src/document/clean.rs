//! The text that a reader receives: without hidden duplicates, and with valid JSON in the place of what JSON does not allow.
//!
//! `node` calls it for a text that is read. A text that needs no change is not copied. Deliberately absent: the decision
//! whether irregular places are accepted, which is made when a text is parsed.

use super::{
    duplicates::hidden,
    scan::{self, MAX_DEPTH},
    token::{Irregular, Quoted, Visitor},
};

/// The text of a value that has been accepted, without hidden members and irregular places at any depth, in one pass.
/// `None` if it has neither.
pub(super) fn cleaned(text: &[u8]) -> Option<Vec<u8>> {
    let mut finder = Finder { text, keys: Vec::new(), objects: Vec::new(), changes: Vec::new() };
    scan::whole(text, MAX_DEPTH, &mut finder).ok()?;
    let mut changes = finder.changes;
    if changes.is_empty() {
        return None;
    }
    changes.sort_unstable_by_key(|change| (change.start, change.end));
    let mut out = Vec::with_capacity(text.len());
    let mut at = 0;
    for Irregular { start, end, instead } in changes {
        // A change inside an earlier one starts before `at`.
        if let Some(before) = text.get(at..start) {
            out.extend_from_slice(before);
            out.extend_from_slice(instead.as_bytes());
        }
        at = at.max(end);
    }
    out.extend_from_slice(&text[at..]);
    Some(out)
}

/// Collects the changes during a scan.
struct Finder<'a> {
    text: &'a [u8],
    /// The keys of all open objects, the innermost's last.
    keys: Vec<Quoted>,
    /// The position in `keys` of the first key of each open object.
    objects: Vec<usize>,
    changes: Vec<Irregular>,
}

impl Visitor for Finder<'_> {
    fn object_starts(&mut self) {
        self.objects.push(self.keys.len());
    }

    fn key(&mut self, key: Quoted, _: u64) {
        self.keys.push(key);
    }

    fn object_ends(&mut self) {
        let first = self.objects.pop().unwrap_or_default();
        let keys = &self.keys[first..];
        // A hidden member is never the last one, so it ends, comma included, at the start of the next key.
        let cut = |at: usize| {
            self.changes.push(Irregular { start: keys[at].start, end: keys[at + 1].start, instead: "" });
        };
        hidden(self.text, keys.len(), |at| keys[at], cut);
        self.keys.truncate(first);
    }

    fn irregular(&mut self, place: Irregular) -> bool {
        self.changes.push(place);
        true
    }
}
