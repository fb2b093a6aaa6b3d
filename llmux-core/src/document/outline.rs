//! The outline of a document: the places of its top level, for another process of the same program, which then reads the
//! text without checking it again.
//!
//! `isolation` sends it with a large body. Only a document that is sent as it was received has one. Deliberately absent:
//! any check that an outline belongs to a text.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::{
    Document,
    members::Members,
    node::{Key, Member, Node, Opened, Parts, Subtree},
    text::Text,
};

/// The top level of an object. Ranges are those of the object's text.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Outline {
    is_clean: bool,
    members: Vec<OutlineMember>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct OutlineMember {
    key: (u32, u32),
    is_escaped: bool,
    value: (u32, u32),
    /// The elements of an array that was opened with its object. Their ranges are those of the array's text.
    elements: Vec<(u32, u32)>,
}

impl Document {
    /// Returns the outline; `None` if the document is not sent as it was received, is no object, or is lenient.
    pub(crate) fn outline(&self) -> Option<Outline> {
        let root = self.root.peek()?;
        if self.lenient || root.is_changed() {
            return None;
        }
        let Parts::Members(members) = &root.peek()?.parts else { return None };
        let base = root.raw.as_ptr().addr();
        let member = |member: &Member| {
            let Key::Raw { start, end, escaped } = member.key else { return None };
            let value = member.value.raw(&root.raw);
            let from = value.as_ptr().addr().checked_sub(base)?;
            let value = (u32::try_from(from).ok()?, u32::try_from(from + value.len()).ok()?);
            let opened = member.value.peek().and_then(Subtree::peek).map(|opened| &opened.parts);
            let elements = match opened {
                Some(Parts::Elements(elements)) => elements.iter().map(Node::range).collect::<Option<_>>()?,
                _ => Vec::new(),
            };
            Some(OutlineMember { key: (start, end), is_escaped: escaped, value, elements })
        };
        let members = members.iter().map(member).collect::<Option<_>>()?;
        Some(Outline { is_clean: root.raw.is_clean, members })
    }

    /// Returns the document of a text that was parsed before, and of its outline.
    pub(crate) fn of_outline(text: Bytes, outline: &Outline) -> Self {
        let is_clean = outline.is_clean;
        let member = |member: &OutlineMember| {
            let OutlineMember { key, is_escaped, value, elements } = member;
            let value = match elements.as_slice() {
                [] => Node::of(value.0, value.1),
                elements => {
                    let text = text.slice(value.0 as usize..value.1 as usize);
                    let elements = elements.iter().map(|(start, end)| Node::of(*start, *end)).collect();
                    let opened = Opened { parts: Parts::Elements(elements), changed: false };
                    Node::own(Subtree::with_parts(Text::new(text, is_clean), opened))
                }
            };
            Member { key: Key::Raw { start: key.0, end: key.1, escaped: *is_escaped }, value }
        };
        let members = Members::new(outline.members.iter().map(member).collect(), &[]);
        let opened = Opened { parts: Parts::Members(members), changed: false };
        let root = Subtree::with_parts(Text::new(text.clone(), is_clean), opened);
        Document::of(root)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A long body, whose messages are opened with it.
    fn body() -> String {
        let content = "x".repeat(5000);
        format!(
            r#" {{"model":"m", "n\u0031":[1,2],"messages":[{{"role":"user","content":"{content}"}},{{}}]}}"#
        )
    }

    #[test]
    fn a_document_of_an_outline_reads_and_is_edited_as_the_one_it_is_of() {
        let document = Document::parse(body()).expect("JSON");
        document.get("/messages/0").expect("a message");
        let outline = document.outline().expect("an outline");
        let mut again = Document::of_outline(Bytes::from(body()), &outline);
        for pointer in ["", "/model", "/n1", "/n1/1", "/messages", "/messages/0/role", "/messages/1", "/none"]
        {
            assert_eq!(again.get(pointer), document.get(pointer), "{pointer}");
        }
        assert_eq!(again.to_bytes(), body());
        let mut edited = document.clone();
        for document in [&mut again, &mut edited] {
            document.set("/messages/1/role", "\"user\"").expect("set");
            document.remove("/n1").expect("removed");
        }
        assert_eq!(again.to_bytes(), edited.to_bytes());
    }

    #[test]
    fn a_document_that_is_not_sent_as_it_was_received_has_no_outline() {
        let mut edited = Document::parse(body()).expect("JSON");
        edited.set("/model", "1").expect("set");
        let repeated = Document::parse(r#"{"a":{"b":1,"b":2}}"#).expect("JSON");
        assert!(repeated.outline().is_some());
        repeated.get("").expect("a text");
        let hidden = Document::parse(r#"{"a":1,"a":2}"#).expect("JSON");
        let lenient = Document::parse_lenient(r#"{"a":NaN}"#).expect("lenient JSON");
        for document in [&edited, &repeated, &hidden, &lenient, &Document::parse("[1]").expect("JSON")] {
            assert!(document.outline().is_none(), "{document:?}");
        }
    }
}
