//! Writes a tree as text: raw ranges are copied, and only changed arrays and objects are written anew, without spaces.
//! `Document` calls it for a whole body, `node` for a text that is read.
//!
//! It opens nothing and removes no duplicates: a value that nobody has read is sent as it was received.

use super::node::{Node, Parts, Subtree};

/// Appends a value's text. `source` is the raw text of its container.
fn node(node: &Node, source: &[u8], out: &mut Vec<u8>) {
    match node.peek() {
        Some(subtree) => value(subtree, out),
        None => out.extend_from_slice(node.raw(source)),
    }
}

/// Appends a value's text.
pub(super) fn value(subtree: &Subtree, out: &mut Vec<u8>) {
    let raw = || subtree.raw.trim_ascii();
    match (subtree.read_text(), subtree.peek()) {
        (Some(text), _) => out.extend_from_slice(text.map_or_else(raw, |text| text.trim_ascii())),
        (None, Some(opened)) if subtree.is_changed() => parts(&opened.parts, &subtree.raw, out),
        _ => out.extend_from_slice(raw()),
    }
}

/// Appends the text of an array or object that is written anew.
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
        // A string is only replaced as a whole: its text is its raw text.
        Parts::Content(_) => out.extend_from_slice(raw.trim_ascii()),
    }
}
