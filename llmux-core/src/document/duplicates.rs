//! Duplicate keys: which members of an object a later member with the same key hides. A guard that reads one and
//! a provider that reads the other is the danger, so what leaves a document has the hidden ones cut out.
//!
//! `node` calls it when it opens an object, and for text that leaves unopened. Keys are the same when
//! their content is: `"a"` and `"\u0061"` are one key.

use std::{borrow::Cow, collections::HashSet};

use super::scan::{self, MAX_DEPTH, Quoted, Visitor};

/// Up to so many keys are compared in pairs, which needs no memory.
const FEW: usize = 16;

/// Calls `hide` with each of `count` keys that a later one hides, in no particular order.
pub(super) fn hidden(text: &[u8], count: usize, key: impl Fn(usize) -> Quoted, mut hide: impl FnMut(usize)) {
    if count <= FEW && !(0..count).any(|at| key(at).escaped) {
        let content = |at| {
            let key = key(at);
            &text[key.start..key.end]
        };
        for early in 0..count {
            if (early + 1..count).any(|late| content(late) == content(early)) {
                hide(early);
            }
        }
    } else {
        // The set's hasher has random keys: nobody can choose keys that collide.
        let mut seen = HashSet::with_capacity(count);
        for at in (0..count).rev() {
            let key = key(at);
            if !seen.insert(unescape(&text[key.start..key.end], key.escaped)) {
                hide(at);
            }
        }
    }
}

/// The content of a string's text, quotes included.
pub(super) fn unescape(quoted: &[u8], escaped: bool) -> Cow<'_, [u8]> {
    if escaped && let Ok(content) = serde_json::from_slice::<String>(quoted) {
        return Cow::Owned(content.into_bytes());
    }
    Cow::Borrowed(&quoted[1..quoted.len() - 1])
}

/// The text of a valid value without the members that are hidden, at any depth; `None` when there are none.
/// One pass, however deep they are.
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
        // A cut inside of one that is done already starts before `at`.
        out.extend_from_slice(text.get(at..start).unwrap_or_default());
        at = at.max(end);
    }
    out.extend_from_slice(&text[at..]);
    Some(out)
}

/// Collects the ranges to cut while the scan passes.
struct Finder<'a> {
    text: &'a [u8],
    /// The keys of all open objects, the innermost's last.
    keys: Vec<Quoted>,
    /// Where in `keys` each open object's begin.
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
        // A hidden member is never the last, so it and its comma end where the next key starts.
        let cut = |at: usize| self.cuts.push((keys[at].start, keys[at + 1].start));
        hidden(self.text, keys.len(), |at| keys[at], cut);
        self.keys.truncate(first);
    }
}
