//! JSON bodies that the host owns, split only as far as somebody looked: requests, responses, chunks and errors.
//! The pipeline hands them to plugins by handle, providers send and receive their bytes.
//!
//! ```text
//! bytes ── parse ──► Document ── get, set, insert, remove ──► to_bytes ── bytes
//!          scan       node    (pointer, edit, duplicates)     write
//! ```
//!
//! The design decision made here: **what was read is what is sent, and what nobody touched is not
//! touched.** A value that no one looked at stays a range of the bytes that came in. Reading opens the path to a
//! place and nothing else; an edit marks that path; sending copies ranges and writes only what changed.
//!
//! Duplicate keys are where the two halves meet. A guard that reads one of them and a provider that reads the other
//! is a way around the guard, so whatever has been read is sent without duplicates, the last one kept, and
//! whatever has not is sent as it came. See [`Document::get`].
//!
//! What is deliberately absent: typed access (that is the SDK's), and any knowledge of what a body means.
//!
//! ```
//! use llmux_core::document::Document;
//!
//! let mut body = Document::parse(r#"{"model": "small", "seed": 1.50, "messages": []}"#)?;
//! assert_eq!(body.get_str("/model"), Some("small"));
//! body.set("/messages/-", r#"{"role": "user", "content": "Hi"}"#)?;
//! assert_eq!(
//!     body.to_bytes(),
//!     r#"{"model":"small","seed":1.50,"messages":[{"role": "user", "content": "Hi"}]}"#
//! );
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod duplicates;
mod edit;
mod error;
mod glance;
mod node;
mod open;
mod pointer;
mod scan;
mod write;

use std::fmt;

use bytes::Bytes;
use serde::Serialize;

use self::{
    edit::Edit,
    node::{Node, Parts, Place, Seen},
    pointer::Pointer,
    scan::MAX_DEPTH,
};

pub use error::{EditError, InvalidJson};

/// A JSON document. A clone shares everything with the original until one of them is edited, and costs a
/// reference count; reading takes `&self` and may happen on several threads at once.
///
/// Places are named by JSON Pointers ([RFC 6901](https://www.rfc-editor.org/rfc/rfc6901)): `""` is the whole
/// document, `/messages/0/role` a member of an element of a member.
#[derive(Clone)]
pub struct Document {
    root: Node,
    /// The whole was replaced: even the root's raw text is not what came in.
    replaced: bool,
}

/// What the root's range would refer to, if it were one.
static NO_SOURCE: Bytes = Bytes::new();

impl Document {
    /// Takes a body in, without copying it. Accepts exactly what parsing to `serde_json::Value` accepts, and less than
    /// 4 GiB of it.
    ///
    /// # Errors
    ///
    /// Says where and why the text is not JSON.
    pub fn parse(text: impl Into<Bytes>) -> Result<Document, InvalidJson> {
        let text = text.into();
        if u32::try_from(text.len()).is_err() {
            return Err(InvalidJson { message: "the text is 4 GiB or longer".into(), line: 1, column: 0 });
        }
        if std::str::from_utf8(&text).is_err() {
            return Err(InvalidJson::of_text(&text, None));
        }
        Ok(Self { root: Node::own(Seen::parse(text)?), replaced: false })
    }

    /// Takes in a text that is read at a few places and then most likely only sent on, without taking it apart. A
    /// place is named by the keys on the way to it; it gives the JSON text there.
    ///
    /// # Errors
    ///
    /// As for [`parse`](Self::parse), and it accepts the same.
    pub(crate) fn glance<'t, const N: usize>(
        text: &'t str,
        places: [&[&str]; N],
    ) -> Result<(Document, [Option<&'t str>; N]), InvalidJson> {
        if u32::try_from(text.len()).is_err() {
            return Self::parse(text.to_owned()).map(|document| (document, [None; N]));
        }
        let found = glance::glance(text, places)
            .map_err(|refused| InvalidJson::of_text(text.as_bytes(), Some(&refused)))?;
        let raw = Bytes::copy_from_slice(text.as_bytes());
        Ok((Self { root: Node::own(Seen::new(raw)), replaced: false }, found))
    }

    /// A document of a value that the host made. Falls back to `null` if the value does not serialize to JSON, or nests
    /// deeper than [`parse`](Self::parse) accepts.
    pub fn from_value<T: Serialize + ?Sized>(value: &T) -> Document {
        let parsed = serde_json::to_vec(value).ok().and_then(|text| Self::parse(text).ok());
        parsed.unwrap_or_else(|| Self {
            root: Node::own(Seen::new(Bytes::from_static(b"null"))),
            replaced: false,
        })
    }

    /// The JSON text of a place, without space around it; `None` if there is no such place. Numbers and inner
    /// space are as they came.
    ///
    /// Of members with the same key the last one is kept, at every depth of the text. If that takes
    /// something out, it is taken out of the document too, and of the clones that share the place: what
    /// was read is what [`to_bytes`](Self::to_bytes) gives.
    ///
    /// The first look at an array or object costs one scan of it; a look at any place costs a check that the text
    /// is UTF-8.
    pub fn get(&self, pointer: &str) -> Option<&str> {
        let place = self.find(pointer)?;
        let raw = place.raw();
        let text = match raw.first() {
            Some(b'{' | b'[') => place.open()?.text(),
            _ => raw,
        };
        std::str::from_utf8(text).ok()
    }

    /// The content of a string, unescaped; `None` if there is no such place, or no string. Allocates only for a
    /// string with escapes, once.
    pub fn get_str(&self, pointer: &str) -> Option<&str> {
        let place = self.find(pointer)?;
        let content = place.raw().strip_prefix(b"\"")?.strip_suffix(b"\"")?;
        if !content.contains(&b'\\') {
            return std::str::from_utf8(content).ok();
        }
        match &place.open()?.opened()?.parts {
            Parts::Content(content) => Some(content),
            _ => None,
        }
    }

    /// How many members an object or elements an array has; `None` for others, and if there is no such place.
    pub fn len(&self, pointer: &str) -> Option<usize> {
        let place = self.find(pointer)?;
        if place.raw().first() == Some(&b'"') {
            return None;
        }
        match &place.open()?.opened()?.parts {
            Parts::Members(members) => Some(members.len()),
            Parts::Elements(elements) => Some(elements.len()),
            Parts::Content(_) => None,
        }
    }

    /// Is the whole document an object?
    pub fn is_object(&self) -> bool {
        self.find("").is_some_and(|place| place.raw().first() == Some(&b'{'))
    }

    /// Adds or replaces a member, or replaces an element; `-` behind an array appends to it, and `""` replaces the
    /// whole document.
    ///
    /// # Errors
    ///
    /// [`EditError::NoSuchPlace`] if what the place is in does not exist, or is neither an array with that
    /// element nor an object; [`EditError::InvalidJson`] if `json` is no JSON text, or would nest deeper than
    /// [`parse`](Self::parse) accepts. The document is unchanged then.
    pub fn set(&mut self, pointer: &str, json: &str) -> Result<(), EditError> {
        self.put(pointer, json, Edit::Set)
    }

    /// Inserts an element before the one at the place; behind the last one if the place is the array's length or `-`.
    /// For members, and the whole document, the same as [`set`](Self::set).
    ///
    /// # Errors
    ///
    /// As for [`set`](Self::set).
    pub fn insert(&mut self, pointer: &str, json: &str) -> Result<(), EditError> {
        self.put(pointer, json, Edit::Insert)
    }

    /// Takes out a member or an element.
    ///
    /// # Errors
    ///
    /// [`EditError::NoSuchPlace`] if it does not exist, and for the whole document.
    pub fn remove(&mut self, pointer: &str) -> Result<(), EditError> {
        let pointer = Pointer::parse(pointer).ok_or(EditError::NoSuchPlace)?;
        self.apply(pointer, Edit::Remove)
    }

    /// The body to send. The very bytes that came in if nothing changed; otherwise a copy, in which only the arrays and
    /// objects that changed are written anew, without space between their parts.
    pub fn to_bytes(&self) -> Bytes {
        let Some(root) = self.root.peek() else { return Bytes::new() };
        if let Some(Some(text)) = root.left() {
            return text.clone();
        }
        if !root.is_changed() {
            return root.raw.clone();
        }
        let mut out = Vec::with_capacity(root.size);
        write::value(root, &mut out);
        out.into()
    }

    /// At least the length of [`to_bytes`](Self::to_bytes), in bytes, without making them: to bound growth.
    pub fn size(&self) -> usize {
        self.root.size()
    }

    /// Has the document changed since it came in, by an edit or by a read that took out duplicates?
    pub fn is_edited(&self) -> bool {
        self.replaced || self.root.peek().is_some_and(Seen::is_changed)
    }

    fn find(&self, pointer: &str) -> Option<Place<'_>> {
        Place { node: &self.root, source: &NO_SOURCE }.find(Pointer::parse(pointer)?)
    }

    fn put(&mut self, pointer: &str, json: &str, edit: fn(Node) -> Edit) -> Result<(), EditError> {
        let pointer = Pointer::parse(pointer).ok_or(EditError::NoSuchPlace)?;
        if pointer.is_empty() {
            let text = Bytes::copy_from_slice(json.as_bytes());
            *self = Self { replaced: true, ..Self::parse(text)? };
            return Ok(());
        }
        // The place is that deep already, and the whole must pass the next door.
        let room = MAX_DEPTH.saturating_sub(pointer.depth());
        let (start, end) = scan::whole(json.as_bytes(), room)
            .map_err(|refused| InvalidJson::of_text(json.as_bytes(), Some(&refused)))?;
        let text = Bytes::copy_from_slice(&json.as_bytes()[start..end]);
        self.apply(pointer, edit(Node::own(Seen::new(text))))
    }

    fn apply(&mut self, pointer: Pointer<'_>, edit: Edit) -> Result<(), EditError> {
        let root = self.root.seen_mut(&NO_SOURCE);
        root.and_then(|root| edit::apply(root, pointer, edit)).ok_or(EditError::NoSuchPlace)
    }
}

/// The JSON text.
impl fmt::Debug for Document {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&String::from_utf8_lossy(&self.to_bytes()))
    }
}
