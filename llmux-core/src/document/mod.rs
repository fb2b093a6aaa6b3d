//! JSON bodies that the host owns: requests, responses, chunks and errors. A body is split only as far as it has been
//! read. The pipeline gives plugins handles to documents; providers send and receive their bytes.
//!
//! ```text
//! bytes ── parse ──► Document ── get, set, insert, remove ──► to_bytes ── bytes
//!          scan       node    (pointer, edit, duplicates)     write
//! ```
//!
//! The design decision: **a value is sent as it was read, and a value that was not read is sent as it was received.** A
//! value that was not read stays a range of the received bytes. Reading opens the path to a place and nothing else, or finds
//! the place in the text (`walk`); an edit marks that path; sending copies ranges and writes only the changed values.
//!
//! Duplicate keys are the difficult case. If a guard read one of them and the provider the other, the guard would be
//! bypassed. Therefore a value that was read is sent without duplicates, the last one kept, and a value that was not
//! read is sent as it was received. See [`Document::get`].
//!
//! An answer may have places that JSON does not allow (rule F8). They are handled alike: what was read is valid JSON, and
//! is what is sent. See [`Document::parse_lenient`].
//!
//! Deliberately absent: typed access, which is the SDK's, and the meaning of a body.
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

mod clean;
mod duplicates;
mod edit;
mod error;
mod find;
mod marks;
mod members;
mod node;
mod open;
mod outline;
mod pointer;
mod repeats;
mod scan;
mod text;
mod token;
mod walk;
mod write;

use std::fmt;

use bytes::Bytes;
use serde::Serialize;

use self::{
    edit::Edit,
    node::{Cursor, Node, Parts, Place, Subtree},
    pointer::Pointer,
    repeats::Repeats,
    scan::MAX_DEPTH,
    text::Text,
    token::Visitor,
    walk::Budget,
};

pub use error::{EditError, InvalidJson};
pub(crate) use outline::Outline;

/// A JSON document.
///
/// A clone costs a reference count, and shares everything with the original until one of them is edited. Reading takes
/// `&self`, and several threads may read at once.
///
/// Places are named by JSON Pointers ([RFC 6901](https://www.rfc-editor.org/rfc/rfc6901)): `""` is the whole
/// document, `/messages/0/role` a member of an element of a member.
#[derive(Clone)]
pub struct Document {
    root: Node,
    /// True if the whole document was replaced, so that even the root's raw text is not the received one.
    replaced: bool,
    /// True if the text may have irregular places.
    lenient: bool,
    passes: Budget,
}

/// The source of the root's range, which is never used: the root has a text of its own.
static NO_SOURCE: Text = Text::new(Bytes::new(), true);

/// Largest body that is parsed on the thread of its request, in bytes.
const LARGE: usize = 1 << 20;

impl Document {
    /// Parses a body, without copying it. Accepts exactly the texts that parse to a `serde_json::Value`, below 4 GiB.
    ///
    /// # Errors
    ///
    /// The position and the reason, if the text is not JSON.
    pub fn parse(text: impl Into<Bytes>) -> Result<Document, InvalidJson> {
        let text = checked(text.into())?;
        Ok(Self::of(Subtree::parse(text, false)?))
    }

    /// Parses a body that a provider answered with. Accepts the texts of [`parse`](Self::parse), and also the numbers and
    /// halves of surrogate pairs that some providers write and JSON does not allow: `NaN`, `Infinity`, `-Infinity`, numbers
    /// out of range, `"\ud83d"`. Such a place is sent as it was received, unless it is read. A reader receives `null`
    /// instead of the number and U+FFFD instead of the half, and this is then sent.
    ///
    /// # Errors
    ///
    /// As for [`parse`](Self::parse).
    pub fn parse_lenient(text: impl Into<Bytes>) -> Result<Document, InvalidJson> {
        let text = text.into();
        Self::parse(text.clone()).or_else(|error| {
            let mut root = Subtree::parse(checked(text)?, true).map_err(|_| error)?;
            // `NaN` becomes `null`.
            root.size += root.size / 3;
            Ok(Self { lenient: true, ..Self::of(root) })
        })
    }

    /// Parses a body as [`parse`](Self::parse) does. A body above 1 MiB is parsed on a thread that may block, so that other
    /// requests run meanwhile. Must be awaited inside a tokio runtime.
    ///
    /// # Errors
    ///
    /// The errors of [`parse`](Self::parse).
    pub async fn parse_off_thread(body: impl Into<Bytes>) -> Result<Self, InvalidJson> {
        Self::off_thread(body.into(), Self::parse).await
    }

    /// Parses a body as [`parse_lenient`](Self::parse_lenient) does, and on a thread as
    /// [`parse_off_thread`](Self::parse_off_thread) does.
    ///
    /// # Errors
    ///
    /// The errors of [`parse`](Self::parse).
    pub(crate) async fn parse_lenient_off_thread(body: Bytes) -> Result<Self, InvalidJson> {
        Self::off_thread(body, Self::parse_lenient).await
    }

    async fn off_thread(
        body: Bytes,
        parse: fn(Bytes) -> Result<Self, InvalidJson>,
    ) -> Result<Self, InvalidJson> {
        if body.len() <= LARGE {
            return parse(body);
        }
        match tokio::task::spawn_blocking(move || parse(body)).await {
            Ok(parsed) => parsed,
            // A panic goes on here; otherwise the runtime ends, and nobody waits for the result.
            Err(error) => match error.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                Err(_) => std::future::pending().await,
            },
        }
    }

    /// Parses a text and returns the JSON text at a few places, without splitting it: for a text that is most likely only
    /// sent on. A place is named by the keys on the way to it.
    ///
    /// # Errors
    ///
    /// As for [`parse`](Self::parse), which accepts the same texts.
    pub(crate) fn parse_and_find<'t, const N: usize>(
        text: &'t str,
        places: [&[&str]; N],
    ) -> Result<(Document, [Option<&'t str>; N]), InvalidJson> {
        if u32::try_from(text.len()).is_err() {
            return Self::parse(text.to_owned()).map(|document| (document, [None; N]));
        }
        let found =
            find::find(text, places).map_err(|error| InvalidJson::of_text(text.as_bytes(), Some(&error)))?;
        let raw = Bytes::copy_from_slice(text.as_bytes());
        Ok((Self::of(Subtree::new(Text::new(raw, false))), found))
    }

    /// Serializes a value. The document is `null` if the value does not serialize to JSON, or nests deeper than
    /// [`parse`](Self::parse) accepts.
    pub fn from_value<T: Serialize + ?Sized>(value: &T) -> Document {
        let parsed = serde_json::to_vec(value).ok().and_then(|text| Self::parse(text).ok());
        parsed.unwrap_or_else(|| Self::of(Subtree::new(Text::new(Bytes::from_static(b"null"), true))))
    }

    /// Returns true if every reader receives the text as it came: no object has a key twice, and there is no irregular place.
    /// False if this is not known.
    pub(crate) fn is_clean(&self) -> bool {
        !self.lenient && self.root.peek().is_some_and(|root| root.raw.is_clean)
    }

    /// The JSON text of a place, without space around it; `None` if there is no such place. Numbers and inner space are
    /// as they were received.
    ///
    /// Of members with the same key only the last one is kept, at every depth of the text. The others are also removed
    /// from the document, and from the clones that share the place: [`to_bytes`](Self::to_bytes) returns the text that
    /// was read.
    ///
    /// If parsing has found no duplicates in the whole document, a read of an array or object costs no more than one of a
    /// string. Otherwise the first read costs one scan of it. Each read costs a check that the text is UTF-8.
    pub fn get(&self, pointer: &str) -> Option<&str> {
        let text = match self.find(pointer)? {
            Place::Passed(text) => text,
            Place::Node(place) if self.lenient => place.node.settled(place.source).text(),
            Place::Node(place) => match place.raw().first() {
                Some(b'{' | b'[') if !place.is_clean() => place.open()?.text(),
                _ => place.raw(),
            },
        };
        simdutf8::basic::from_utf8(text).ok()
    }

    /// The content of a string, unescaped; `None` if there is no such place, or its value is not a string. Allocates only
    /// for a string with escapes, once.
    pub fn get_str(&self, pointer: &str) -> Option<&str> {
        let content = self.find(pointer)?.raw().strip_prefix(b"\"")?.strip_suffix(b"\"")?;
        if !content.contains(&b'\\') {
            return simdutf8::basic::from_utf8(content).ok();
        }
        let place = self.node(pointer)?;
        if self.lenient {
            place.node.settled(place.source);
        }
        match &place.open()?.opened()?.parts {
            Parts::Content(content) => Some(content),
            _ => None,
        }
    }

    /// Returns where a value begins in the text that was parsed; `None` if there is no such place, or if the document is not
    /// clean or has changed.
    pub(crate) fn start(&self, pointer: &str) -> Option<usize> {
        let whole =
            self.root.peek().filter(|root| self.is_clean() && !root.is_changed())?.raw.as_ptr().addr();
        self.find(pointer)?.raw().as_ptr().addr().checked_sub(whole)
    }

    /// The number of an object's members or an array's elements; `None` for other values, and if there is no such place.
    pub fn len(&self, pointer: &str) -> Option<usize> {
        let place = self.node(pointer)?;
        if place.raw().first() == Some(&b'"') {
            return None;
        }
        match &place.open()?.opened()?.parts {
            Parts::Members(members) => Some(members.len()),
            Parts::Elements(elements) => Some(elements.len()),
            Parts::Content(_) => None,
        }
    }

    /// Returns true if the whole document is an object.
    pub fn is_object(&self) -> bool {
        self.find("").is_some_and(|place| place.raw().first() == Some(&b'{'))
    }

    /// Adds or replaces a member, or replaces an element. A last token `-` appends to an array, and `""` replaces the whole
    /// document.
    ///
    /// # Errors
    ///
    /// [`EditError::NoSuchPlace`] if the place's container does not exist, or is neither an object nor an array with that
    /// element. [`EditError::InvalidJson`] if `json` is not JSON, or would nest deeper than [`parse`](Self::parse)
    /// accepts. The document is unchanged then.
    pub fn set(&mut self, pointer: &str, json: &str) -> Result<(), EditError> {
        self.put(pointer, json, Edit::Set)
    }

    /// Inserts an element before the one at the place; after the last one if the place is the array's length or `-`.
    /// Sets members, and the whole document, like [`set`](Self::set).
    ///
    /// # Errors
    ///
    /// As for [`set`](Self::set).
    pub fn insert(&mut self, pointer: &str, json: &str) -> Result<(), EditError> {
        self.put(pointer, json, Edit::Insert)
    }

    /// Removes a member or an element.
    ///
    /// # Errors
    ///
    /// [`EditError::NoSuchPlace`] if it does not exist, or is the whole document.
    pub fn remove(&mut self, pointer: &str) -> Result<(), EditError> {
        let pointer = Pointer::parse(pointer).ok_or(EditError::NoSuchPlace)?;
        self.apply(pointer, Edit::Remove)
    }

    /// The body to send. If nothing changed, these are the received bytes, not copied. Otherwise a copy, in which only the
    /// changed arrays and objects are written anew, without space between their parts.
    pub fn to_bytes(&self) -> Bytes {
        let Some(root) = self.root.peek() else { return Bytes::new() };
        if let Some(Some(text)) = root.read_text() {
            return text.clone();
        }
        if !root.is_changed() {
            return Bytes::clone(&root.raw);
        }
        let mut out = Vec::with_capacity(root.size);
        write::value(root, &mut out);
        out.into()
    }

    /// At least the length of [`to_bytes`](Self::to_bytes), in bytes, without writing them. It serves to bound growth.
    pub fn size(&self) -> usize {
        self.root.size()
    }

    /// Returns true if the document has changed since it was parsed, by an edit or by a read that removed duplicates.
    pub fn is_edited(&self) -> bool {
        self.replaced || self.root.peek().is_some_and(Subtree::is_changed)
    }

    fn of(root: Subtree) -> Self {
        Self { root: Node::own(root), replaced: false, lenient: false, passes: Budget::default() }
    }

    fn find(&self, pointer: &str) -> Option<Place<'_>> {
        self.root().find(Pointer::parse(pointer)?, |bytes| self.passes.take(bytes, self.size()))
    }

    /// Finds a place, and opens all values on the way.
    fn node(&self, pointer: &str) -> Option<Cursor<'_>> {
        match self.root().find(Pointer::parse(pointer)?, |_| false)? {
            Place::Node(place) => Some(place),
            Place::Passed(_) => None,
        }
    }

    fn root(&self) -> Cursor<'_> {
        Cursor { node: &self.root, source: &NO_SOURCE }
    }

    fn put(&mut self, pointer: &str, json: &str, edit: fn(Node) -> Edit) -> Result<(), EditError> {
        let pointer = Pointer::parse(pointer).ok_or(EditError::NoSuchPlace)?;
        if pointer.is_empty() {
            let text = Bytes::copy_from_slice(json.as_bytes());
            *self = Self { replaced: true, ..Self::parse(text)? };
            return Ok(());
        }
        // The value adds to the depth of its place, and the whole document must still parse.
        let room = MAX_DEPTH.saturating_sub(pointer.depth());
        let mut repeats = Repeats::new(false);
        let (start, end) = scan::whole(json.as_bytes(), room, &mut repeats)
            .map_err(|error| InvalidJson::of_text(json.as_bytes(), Some(&error)))?;
        let text = Bytes::copy_from_slice(&json.as_bytes()[start..end]);
        self.apply(pointer, edit(Node::own(Subtree::new(Text::new(text, repeats.is_clean())))))
    }

    fn apply(&mut self, pointer: Pointer<'_>, edit: Edit) -> Result<(), EditError> {
        let root = self.root.subtree_mut(&NO_SOURCE);
        root.and_then(|root| edit::apply(root, pointer, edit)).ok_or(EditError::NoSuchPlace)
    }
}

/// Checks that a text is below 4 GiB and UTF-8.
fn checked(text: Bytes) -> Result<Bytes, InvalidJson> {
    if u32::try_from(text.len()).is_err() {
        return Err(InvalidJson { message: "the text is 4 GiB or longer".into(), line: 1, column: 0 });
    }
    match simdutf8::basic::from_utf8(&text) {
        Ok(_) => Ok(text),
        Err(_) => Err(InvalidJson::of_text(&text, None)),
    }
}

/// Shows the JSON text.
impl fmt::Debug for Document {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&String::from_utf8_lossy(&self.to_bytes()))
    }
}
