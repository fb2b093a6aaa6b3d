//! Duplicate keys: a member is hidden if a later member of its object has the same key. A guard might read one of them
//! and the provider the other, so hidden members are removed from every text that has been read.
//!
//! `open` calls it for an object, and `clean` for a text that is read without being opened. Keys are compared by their
//! content: `"a"` and `"\u0061"` are the same key.

use std::{borrow::Cow, collections::HashSet};

use super::token::Quoted;

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
