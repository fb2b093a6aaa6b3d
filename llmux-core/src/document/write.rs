//! Text of a tree again: raw ranges are copied, and only what changed is put together anew, without spaces.
//! `Document` calls it for a whole body, `node` for text that leaves.
//!
//! It opens nothing and cuts no duplicates: what nobody read leaves as it came.

use super::node::{Node, Parts, Seen};

/// Appends a value's text; `source` is its container's raw text.
fn node(node: &Node, source: &[u8], out: &mut Vec<u8>) {
    match node.peek() {
        Some(seen) => value(seen, out),
        None => out.extend_from_slice(node.raw(source)),
    }
}

/// Appends a value's text.
pub(super) fn value(seen: &Seen, out: &mut Vec<u8>) {
    let raw = || seen.raw.trim_ascii();
    match (seen.left(), seen.peek()) {
        (Some(left), _) => out.extend_from_slice(left.map_or_else(raw, |text| text.trim_ascii())),
        (None, Some(opened)) if seen.is_changed() => parts(&opened.parts, &seen.raw, out),
        _ => out.extend_from_slice(raw()),
    }
}

/// Appends the text of an array or object that is put together anew.
pub(super) fn parts(parts: &Parts, raw: &[u8], out: &mut Vec<u8>) {
    match parts {
        Parts::Members(members) => {
            out.push(b'{');
            for (at, member) in members.iter().enumerate() {
                if at > 0 {
                    out.push(b',');
                }
                out.extend_from_slice(member.key.json(raw));
                out.push(b':');
                node(&member.value, raw, out);
            }
            out.push(b'}');
        }
        Parts::Elements(elements) => {
            out.push(b'[');
            for (at, element) in elements.iter().enumerate() {
                if at > 0 {
                    out.push(b',');
                }
                node(element, raw, out);
            }
            out.push(b']');
        }
        // A string is never edited in part: its text is its raw text.
        Parts::Content(_) => out.extend_from_slice(raw.trim_ascii()),
    }
}
