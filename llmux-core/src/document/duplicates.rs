//! Duplicate keys: a member is hidden if a later member of its object has the same key. A guard might read one of them
//! and the provider the other, so hidden members are removed from every text that has been read.
//!
//! `open` calls it for an object, and `node` for a text that is read without being opened. Keys are compared by their
//! content: `"a"` and `"\u0061"` are the same key.

use std::{borrow::Cow, collections::HashSet};

use super::scan::{self, MAX_DEPTH, Quoted, Visitor};

/// Maximum number of keys that are compared in pairs, which needs no memory.
const FEW: usize = 32;

/// Calls `hide` with the position of each key that a later one hides, in no particular order. There are `count` keys.
#[inline]
pub(super) fn hidden(text: &[u8], count: usize, key: impl Fn(usize) -> Quoted, mut hide: impl FnMut(usize)) {
    if count <= FEW && !(0..count).any(|at| key(at).escaped) {
        let content = |at| {
            let key = key(at);
            &text[key.start..key.end]
        };
        for early in 0..count {
            let key = content(early);
            if (early + 1..count).any(|late| content(late) == key) {
                hide(early);
            }
        }
    } else {
        // The set's hasher has random keys, so a client cannot choose keys that collide.
        let mut seen = HashSet::with_capacity(count);
        for at in (0..count).rev() {
            let key = key(at);
            if !seen.insert(unescape(&text[key.start..key.end], key.escaped)) {
                hide(at);
            }
        }
    }
}

/// The content of a string. `quoted` is its text, quotes included.
pub(super) fn unescape(quoted: &[u8], escaped: bool) -> Cow<'_, [u8]> {
    if escaped && let Ok(content) = serde_json::from_slice::<String>(quoted) {
        return Cow::Owned(content.into_bytes());
    }
    Cow::Borrowed(&quoted[1..quoted.len() - 1])
}

/// The text of a valid value without hidden members at any depth, in one pass. `None` if there are no hidden members.
pub(super) fn cut(text: &[u8]) -> Option<Vec<u8>> {
    let mut finder = Finder { text, keys: Vec::new(), objects: Vec::new(), cuts: Vec::new() };
    scan::value(text, scan::space(text, 0), MAX_DEPTH, &mut finder).ok()?;
    let mut cuts = finder.cuts;
    if cuts.is_empty() {
        return None;
    }
    cuts.sort_unstable();
    let mut out = Vec::with_capacity(text.len());
    let mut at = 0;
    for (start, end) in cuts {
        // A cut inside an earlier one starts before `at`.
        out.extend_from_slice(text.get(at..start).unwrap_or_default());
        at = at.max(end);
    }
    out.extend_from_slice(&text[at..]);
    Some(out)
}

/// Collects the ranges to cut during a scan.
struct Finder<'a> {
    text: &'a [u8],
    /// The keys of all open objects, the innermost's last.
    keys: Vec<Quoted>,
    /// The position in `keys` of the first key of each open object.
    objects: Vec<usize>,
    cuts: Vec<(usize, usize)>,
}

impl Visitor for Finder<'_> {
    fn object_starts(&mut self) {
        self.objects.push(self.keys.len());
    }

    fn key(&mut self, key: Quoted) {
        self.keys.push(key);
    }

    fn object_ends(&mut self) {
        let first = self.objects.pop().unwrap_or_default();
        let keys = &self.keys[first..];
        // A hidden member is never the last one, so it ends, comma included, at the start of the next key.
        let cut = |at: usize| self.cuts.push((keys[at].start, keys[at + 1].start));
        hidden(self.text, keys.len(), |at| keys[at], cut);
        self.keys.truncate(first);
    }
}
