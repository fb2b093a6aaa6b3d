//! The text around the content of a chunk, which most chunks of a stream share.
//!
//! `assemble` keeps the frame of the last chunk. A chunk with the same frame differs from it in its content alone, so that only
//! the content is read. Deliberately absent: chunks with more than one text, which are always parsed.

use std::borrow::Cow;

use serde::Deserialize;

use super::tree::Tree;

/// Marks the content in the text of a chunk. A provider that writes white space here has no frames.
const CONTENT: &str = r#""content":""#;

/// The text of a chunk before and after its content, without the quotes of the content.
#[derive(Clone, Debug)]
pub(super) struct Frame {
    before: String,
    after: String,
    /// The index of the chunk's only choice.
    pub(super) choice: u64,
}

impl Frame {
    /// Returns the frame of a chunk: its text, and the text parsed. `None` if a chunk may add more than its content.
    pub(super) fn of(text: &str, chunk: &Tree) -> Option<Self> {
        let [choice] = chunk["choices"].elements() else { return None };
        let repeats_nothing = |name: &str, value: &Tree| matches!(name, "index" | "delta") || value.is_null();
        if !choice.members().all(|(name, value)| repeats_nothing(name, value)) {
            return None;
        }
        let mut delta = choice["delta"].members();
        let (Some(("content", Tree::Text(_))), None) = (delta.next(), delta.next()) else { return None };
        let (before, rest) = text.split_once(CONTENT)?;
        let end = content_end(rest)?;
        let after = &rest[end..];
        // Without escapes, and if the name stands once, no other string looks like the content.
        let is_plain = |text: &str| !text.contains('\\') && !text.contains(r#""content""#);
        if !is_plain(before) || !is_plain(after) {
            return None;
        }
        let before = format!("{before}{CONTENT}");
        Some(Self { before, after: after.to_owned(), choice: choice["index"].as_index().unwrap_or(0) })
    }

    /// Returns the content of a chunk with this frame.
    pub(super) fn content<'t>(&self, chunk: &'t str) -> Option<Cow<'t, str>> {
        unescape(chunk.strip_prefix(&*self.before)?.strip_suffix(&*self.after)?)
    }
}

/// Returns the length of a string's content: the position of the quote that ends it.
fn content_end(text: &str) -> Option<usize> {
    let mut is_escaped = false;
    text.bytes().position(|byte| {
        let ends = byte == b'"' && !is_escaped;
        is_escaped = byte == b'\\' && !is_escaped;
        ends
    })
}

/// Returns the content of a string, from its text between the quotes. `None` if the text is not the inside of one string.
fn unescape(inside: &str) -> Option<Cow<'_, str>> {
    if inside.bytes().fold(true, |all, byte| all & (byte >= 0x20) & (byte != b'"') & (byte != b'\\')) {
        return Some(Cow::Borrowed(inside));
    }
    #[derive(Deserialize)]
    struct Text(String);
    let Text(text) = serde_json::from_str(&format!("\"{inside}\"")).ok()?;
    Some(Cow::Owned(text))
}
