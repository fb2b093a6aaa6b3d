//! The tree: a node is a range of text until it is read. `Document` reads it, `edit` changes it, `write` makes text of it
//! again.
//!
//! An unopened node is a range of its container's text and nothing else. Reading it fills one-time cells beside the
//! range, so that readers need no lock and clones of a document share the work:
//!
//! - its *parts* (members or elements in order, or a string's unescaped content), opened from its raw text;
//! - its *text* as `get` returned it, without hidden duplicates and irregular places at any depth.
//!
//! Several threads may fill the two cells, in any order: each is a function of the raw text alone. Once the text is
//! there, it is the text that is sent. Deliberately absent: parsing of numbers, and checks of UTF-8.

use std::sync::Arc;

use bytes::Bytes;
use once_cell::sync::OnceCell;

use super::{
    InvalidJson, clean,
    members::Members,
    open::open,
    pointer::{self, Pointer},
    repeats::Repeats,
    text::Text,
    token::{Lenient, Visitor},
    walk, write,
};

/// A value in a container: a range of the container's raw text, and its subtree once it has been read.
#[derive(Clone, Debug)]
pub(super) struct Node {
    // Not `usize`, since a body may have very many nodes. Parsing refuses text of 4 GiB.
    start: u32,
    end: u32,
    subtree: OnceCell<Arc<Subtree>>,
}

/// A value that has been read or edited, with the parts of it that are known.
#[derive(Clone, Debug)]
pub(super) struct Subtree {
    /// The value's text as it was parsed, or as it was before its first edit.
    pub(super) raw: Text,
    /// At least the length of the text that is sent, in bytes.
    pub(super) size: usize,
    parts: OnceCell<Opened>,
    /// The text that a reader has received. The inner `None` means the raw text.
    text: OnceCell<Option<Bytes>>,
}

/// A value's parts, one level deep.
#[derive(Clone, Debug)]
pub(super) struct Opened {
    pub(super) parts: Parts,
    /// True if the parts differ from the raw text: duplicates were dropped, or there was an edit here or below. A read
    /// below that drops duplicates does not set it, since a reader cannot change the container.
    pub(super) changed: bool,
}

#[derive(Clone, Debug)]
pub(super) enum Parts {
    Members(Members),
    Elements(Vec<Node>),
    /// The unescaped content of a string that has escapes.
    Content(Box<str>),
}

/// A member of an object.
#[derive(Clone, Debug)]
pub(super) struct Member {
    pub(super) key: Key,
    pub(super) value: Node,
}

/// A member's key, as JSON text with its quotes.
#[derive(Clone, Debug)]
pub(super) enum Key {
    /// A range of the object's raw text.
    Raw { start: u32, end: u32, escaped: bool },
    /// A key that an edit added.
    Own { json: Box<str>, escaped: bool },
    /// No key: the member was removed.
    Removed,
}

impl Key {
    /// The key's JSON text; `raw` is the object's.
    pub(super) fn json<'a>(&'a self, raw: &'a [u8]) -> &'a [u8] {
        match self {
            Key::Raw { start, end, .. } => &raw[*start as usize..*end as usize],
            Key::Own { json, .. } => json.as_bytes(),
            Key::Removed => b"\"\"",
        }
    }
}

/// A position in the tree: a node, and the raw text that its range refers to.
#[derive(Clone, Copy)]
pub(super) struct Cursor<'a> {
    pub(super) node: &'a Node,
    pub(super) source: &'a Text,
}

/// A place of a document.
pub(super) enum Place<'a> {
    Node(Cursor<'a>),
    /// The text of a value inside of one that was passed and not opened.
    Passed(&'a [u8]),
}

impl<'a> Place<'a> {
    /// The value's raw text.
    pub(super) fn raw(&self) -> &'a [u8] {
        match self {
            Self::Node(place) => place.raw(),
            Self::Passed(raw) => raw,
        }
    }
}

impl<'a> Cursor<'a> {
    /// Follows a pointer downwards, and opens the values on the way, except those that `may_pass` accepts by their length.
    pub(super) fn find(
        mut self,
        mut pointer: Pointer<'_>,
        may_pass: impl Fn(usize) -> bool,
    ) -> Option<Place<'a>> {
        while let Some((token, rest)) = pointer.split() {
            let raw = self.raw();
            // Only objects and arrays have places in them.
            if !matches!(raw.first(), Some(b'{' | b'[')) {
                return None;
            }
            if self.is_clean()
                && may_pass(raw.len())
                && let Ok(found) = walk::find(raw, pointer)
            {
                return found.map(Place::Passed);
            }
            let subtree = self.node.subtree(self.source);
            let node = match &subtree.opened()?.parts {
                Parts::Members(members) => &members.get(&token, &subtree.raw)?.value,
                Parts::Elements(elements) => elements.get(pointer::index(&token)?)?,
                Parts::Content(_) => return None,
            };
            self = Cursor { node, source: &subtree.raw };
            pointer = rest;
        }
        Some(Place::Node(self))
    }

    /// The value's raw text.
    pub(super) fn raw(self) -> &'a [u8] {
        self.node.raw(self.source)
    }

    /// Returns true if the value has not been read, and reading it changes nothing.
    pub(super) fn is_clean(self) -> bool {
        self.source.is_clean && self.node.peek().is_none()
    }

    /// The subtree of a value that can have parts: an array, an object, or a string. `None` for any other value.
    pub(super) fn open(self) -> Option<&'a Subtree> {
        matches!(self.raw().first(), Some(b'{' | b'[' | b'"')).then(|| self.node.subtree(self.source))
    }
}

impl Node {
    /// A node of a range of its container's text.
    pub(super) fn of(start: u32, end: u32) -> Self {
        Self { start, end, subtree: OnceCell::new() }
    }

    /// A node with a text of its own.
    pub(super) fn own(subtree: Subtree) -> Self {
        Self { start: 0, end: 0, subtree: OnceCell::with_value(Arc::new(subtree)) }
    }

    /// The range in the container's text; `None` if the node has a text of its own.
    pub(super) fn range(&self) -> Option<(u32, u32)> {
        (self.end > 0).then_some((self.start, self.end))
    }

    /// The subtree, if the value has been read or edited.
    pub(super) fn peek(&self) -> Option<&Subtree> {
        self.subtree.get().map(Arc::as_ref)
    }

    /// The value's raw text, without space around it.
    pub(super) fn raw<'a>(&'a self, source: &'a [u8]) -> &'a [u8] {
        match self.peek() {
            Some(subtree) => subtree.raw.trim_ascii(),
            None => &source[self.start as usize..self.end as usize],
        }
    }

    fn subtree<'a>(&'a self, source: &Text) -> &'a Subtree {
        let slice = || Arc::new(Subtree::new(source.slice(self.start as usize..self.end as usize)));
        self.subtree.get_or_init(slice)
    }

    /// The subtree, to be changed. Other clones of the document do not see the change.
    pub(super) fn subtree_mut(&mut self, source: &Text) -> Option<&mut Subtree> {
        self.subtree(source);
        self.subtree.get_mut().map(Arc::make_mut)
    }

    /// At least the length of the text that is sent, in bytes.
    pub(super) fn size(&self) -> usize {
        self.peek().map_or((self.end - self.start) as usize, |subtree| subtree.size)
    }

    /// Cleans everything below. Returns true if the text that is sent is not the raw text.
    fn settle(&self, source: &Text) -> bool {
        if let Some(subtree) = self.peek() {
            return subtree.text_cell().is_some();
        }
        if source.is_clean {
            return false;
        }
        let raw = self.raw(source);
        match clean::cleaned(raw) {
            Some(text) => self.subtree(source).text.get_or_init(|| Some(text.into())).is_some(),
            // Its container's text cell records that it is clean.
            None => false,
        }
    }

    /// The value's text as a reader receives it, whatever kind of value it is.
    pub(super) fn settled<'a>(&'a self, source: &Text) -> &'a Subtree {
        let subtree = self.subtree(source);
        subtree.text_cell();
        subtree
    }
}

impl Subtree {
    /// A subtree of a valid text.
    pub(super) fn new(raw: Text) -> Self {
        Self { size: raw.len(), raw, parts: OnceCell::new(), text: OnceCell::new() }
    }

    /// A subtree with parts that are already known.
    pub(super) fn with_parts(raw: Text, opened: Opened) -> Self {
        Self { parts: OnceCell::with_value(opened), ..Self::new(raw) }
    }

    /// Validates a text from outside, and opens its top level in the same pass.
    pub(super) fn parse(raw: Bytes, is_lenient: bool) -> Result<Self, InvalidJson> {
        let mut repeats = Repeats::new(is_lenient);
        let mut raw = Text::new(raw, false);
        let opened = open(&raw, &mut repeats).map_err(|error| InvalidJson::of_text(&raw, Some(&error)))?;
        raw.is_clean = repeats.is_clean();
        Ok(Self { parts: opened.map(OnceCell::with_value).unwrap_or_default(), ..Self::new(raw) })
    }

    /// The parts, opened on the first call. `None` for a value without parts.
    pub(super) fn opened(&self) -> Option<&Opened> {
        if let Some(opened) = self.parts.get() {
            return Some(opened);
        }
        let opened = match self.raw.trim_ascii() {
            // It was validated when it was parsed.
            [b'{' | b'[', ..] => open(&self.raw, &mut Lenient).ok()??,
            json @ [b'"', ..] => {
                let content = serde_json::from_slice(json)
                    .or_else(|_| serde_json::from_slice(&clean::cleaned(json).unwrap_or_default()));
                Opened { parts: Parts::Content(content.ok()?), changed: false }
            }
            _ => return None,
        };
        Some(self.parts.get_or_init(|| opened))
    }

    /// The parts, their raw text and the size, to be edited. The text that readers have received becomes the raw text.
    pub(super) fn opened_mut(&mut self) -> Option<(&mut Opened, &Text, &mut usize)> {
        if let Some(Some(text)) = self.text.take() {
            // The text that was read is the text that is sent, so the edit continues from it: the old parts may
            // still contain duplicates that the reader has not seen.
            self.raw = Text::new(text, true);
            self.parts = OnceCell::new();
            self.opened()?;
            self.parts.get_mut()?.changed = true;
        }
        self.opened()?;
        Some((self.parts.get_mut()?, &self.raw, &mut self.size))
    }

    /// The value's text, clean at any depth. From now on, this is the text that is sent.
    pub(super) fn text(&self) -> &[u8] {
        self.text_cell().as_ref().unwrap_or(&*self.raw).trim_ascii()
    }

    /// The text that a reader has received, if any. The inner `None` means the raw text.
    pub(super) fn read_text(&self) -> Option<Option<&Bytes>> {
        self.text.get().map(Option::as_ref)
    }

    fn text_cell(&self) -> &Option<Bytes> {
        self.text.get_or_init(|| {
            let opened = match self.parts.get() {
                Some(opened) if opened.changed => opened,
                _ if self.raw.is_clean => return None,
                Some(opened) if opened.has_subtree_below() => opened,
                // If nothing below has been read, one pass is enough: there is no other text to agree with.
                _ => return clean::cleaned(&self.raw).map(Bytes::from),
            };
            let mut changed = opened.changed;
            opened.children(|child| changed |= child.settle(&self.raw));
            let text = changed.then(|| {
                let mut text = Vec::with_capacity(self.size);
                write::parts(&opened.parts, &self.raw, &mut text);
                Bytes::from(text)
            });
            // The children are clean, and so are keys without an escape.
            match opened.has_escaped_key() {
                true => clean::cleaned(text.as_ref().unwrap_or(&*self.raw)).map(Bytes::from).or(text),
                false => text,
            }
        })
    }

    /// Returns true if the text that is sent is not the raw text.
    pub(super) fn is_changed(&self) -> bool {
        match self.read_text() {
            Some(text) => text.is_some(),
            None => self.parts.get().is_some_and(Opened::is_changed),
        }
    }

    /// The parts, if they have been opened.
    pub(super) fn peek(&self) -> Option<&Opened> {
        self.parts.get()
    }
}

impl Opened {
    fn is_changed(&self) -> bool {
        self.changed || self.any_child(|child| child.peek().is_some_and(Subtree::is_changed))
    }

    pub(super) fn has_subtree_below(&self) -> bool {
        self.any_child(|child| child.peek().is_some())
    }

    fn has_escaped_key(&self) -> bool {
        let escaped = |member: &Member| {
            matches!(member.key, Key::Raw { escaped: true, .. } | Key::Own { escaped: true, .. })
        };
        matches!(&self.parts, Parts::Members(members) if members.iter().any(escaped))
    }

    fn any_child(&self, mut is: impl FnMut(&Node) -> bool) -> bool {
        match &self.parts {
            Parts::Members(members) => members.iter().any(|member| is(&member.value)),
            Parts::Elements(elements) => elements.iter().any(is),
            Parts::Content(_) => false,
        }
    }

    fn children(&self, mut visit: impl FnMut(&Node)) {
        self.any_child(|child| {
            visit(child);
            false
        });
    }
}
