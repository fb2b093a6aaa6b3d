//! The tree: a node is text until somebody looks into it. `Document` reads through it, `edit` changes it,
//! `write` makes text of it again.
//!
//! An unopened node is a range of its container's text and nothing else. What a look finds out about it is
//! kept beside it in one-time cells, so that readers need no lock and clones of a document share it:
//!
//! - its *parts* (members or elements in order, or a string's unescaped content), opened from its raw text;
//! - its *text* as it left through `get`, with hidden duplicates cut out at every depth.
//!
//! The two cells may be filled in any order, by several threads: each is a function of the raw text alone, and
//! once the text is there it is what is sent. Nothing here parses numbers or checks UTF-8.

use std::sync::Arc;

use bytes::Bytes;
use once_cell::sync::OnceCell;

use super::{
    InvalidJson, duplicates,
    open::open,
    pointer::{self, Pointer},
    write,
};

/// A value in a container: a range of the container's raw text, and what has been seen of it.
#[derive(Clone, Debug)]
pub(super) struct Node {
    // Half of `usize`, since a body may have very many nodes; the door refuses text of 4 GiB.
    start: u32,
    end: u32,
    seen: OnceCell<Arc<Seen>>,
}

/// What has been seen of a value.
#[derive(Clone, Debug)]
pub(super) struct Seen {
    /// The value as it came in, or as the last edit found it.
    pub(super) raw: Bytes,
    /// At least the length of what is sent for it.
    pub(super) size: usize,
    parts: OnceCell<Opened>,
    /// The text that left; `None` when it is the raw text.
    text: OnceCell<Option<Bytes>>,
}

/// A value taken apart.
#[derive(Clone, Debug)]
pub(super) struct Opened {
    pub(super) parts: Parts,
    /// The parts themselves, or one below them after an edit, are no longer what the raw text says. What a read
    /// below has cut is not in here: readers cannot tell their container.
    pub(super) changed: bool,
}

#[derive(Clone, Debug)]
pub(super) enum Parts {
    Members(Vec<Member>),
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
    /// An edit brought it.
    Own { json: Box<str>, escaped: bool },
}

impl Key {
    /// The key's JSON text; `raw` is the object's.
    pub(super) fn json<'a>(&'a self, raw: &'a [u8]) -> &'a [u8] {
        match self {
            Key::Raw { start, end, .. } => &raw[*start as usize..*end as usize],
            Key::Own { json, .. } => json.as_bytes(),
        }
    }

    fn is(&self, token: &[u8], raw: &[u8]) -> bool {
        let (Key::Raw { escaped, .. } | Key::Own { escaped, .. }) = *self;
        let json = self.json(raw);
        match escaped {
            false => &json[1..json.len() - 1] == token,
            true => *duplicates::unescape(json, true) == *token,
        }
    }
}

/// Where a read has arrived: a node, and the raw text that its range means.
#[derive(Clone, Copy)]
pub(super) struct Place<'a> {
    pub(super) node: &'a Node,
    pub(super) source: &'a Bytes,
}

impl<'a> Place<'a> {
    /// Goes down a pointer, opening what it passes.
    pub(super) fn find(mut self, mut pointer: Pointer<'_>) -> Option<Self> {
        while let Some((token, rest)) = pointer.split() {
            if self.raw().first() == Some(&b'"') {
                return None;
            }
            let seen = self.open()?;
            let node = match &seen.opened()?.parts {
                Parts::Members(members) => &members[member_named(members, &token, &seen.raw)?].value,
                Parts::Elements(elements) => elements.get(pointer::index(&token)?)?,
                Parts::Content(_) => return None,
            };
            self = Place { node, source: &seen.raw };
            pointer = rest;
        }
        Some(self)
    }

    /// The value's raw text.
    pub(super) fn raw(self) -> &'a [u8] {
        self.node.raw(self.source)
    }

    /// What is kept of a value that can be taken apart: an array, an object, or a string with escapes.
    pub(super) fn open(self) -> Option<&'a Seen> {
        matches!(self.raw().first(), Some(b'{' | b'[' | b'"')).then(|| self.node.seen(self.source))
    }
}

/// The position of the member with a key; after opening there is at most one.
pub(super) fn member_named(members: &[Member], token: &str, raw: &[u8]) -> Option<usize> {
    members.iter().position(|member| member.key.is(token.as_bytes(), raw))
}

impl Node {
    /// A node of a range of its container's text.
    pub(super) fn of(start: u32, end: u32) -> Self {
        Self { start, end, seen: OnceCell::new() }
    }

    /// A node that brings its own text.
    pub(super) fn own(seen: Seen) -> Self {
        Self { start: 0, end: 0, seen: OnceCell::with_value(Arc::new(seen)) }
    }

    /// What has been seen so far.
    pub(super) fn peek(&self) -> Option<&Seen> {
        self.seen.get().map(Arc::as_ref)
    }

    /// The value's raw text, without space around it.
    pub(super) fn raw<'a>(&'a self, source: &'a [u8]) -> &'a [u8] {
        match self.peek() {
            Some(seen) => seen.raw.trim_ascii(),
            None => &source[self.start as usize..self.end as usize],
        }
    }

    fn seen<'a>(&'a self, source: &Bytes) -> &'a Seen {
        let slice = || Arc::new(Seen::new(source.slice(self.start as usize..self.end as usize)));
        self.seen.get_or_init(slice)
    }

    /// What has been seen, to change: no other clone of the document sees the change.
    pub(super) fn seen_mut(&mut self, source: &Bytes) -> Option<&mut Seen> {
        self.seen(source);
        self.seen.get_mut().map(Arc::make_mut)
    }

    /// At least the length of what is sent for it.
    pub(super) fn size(&self) -> usize {
        self.peek().map_or((self.end - self.start) as usize, |seen| seen.size)
    }

    /// Cuts all hidden duplicates of the subtree; true when it is not the raw text that is sent for it.
    fn settle(&self, source: &Bytes) -> bool {
        if let Some(seen) = self.peek() {
            return seen.text_cell().is_some();
        }
        match self.raw(source).first() {
            Some(b'{' | b'[') => {}
            _ => return false,
        }
        match duplicates::cut(self.raw(source)) {
            Some(text) => self.seen(source).text.get_or_init(|| Some(text.into())).is_some(),
            // Its container remembers that it is clean.
            None => false,
        }
    }
}

impl Seen {
    /// Of a value's text, which must be valid.
    pub(super) fn new(raw: Bytes) -> Self {
        Self { size: raw.len(), raw, parts: OnceCell::new(), text: OnceCell::new() }
    }

    /// Of a value that is opened already.
    pub(super) fn with_parts(raw: Bytes, opened: Opened) -> Self {
        Self { parts: OnceCell::with_value(opened), ..Self::new(raw) }
    }

    /// Of text from outside: validates it, and opens the top level in the same pass.
    pub(super) fn parse(raw: Bytes) -> Result<Self, InvalidJson> {
        match open(&raw) {
            Ok(opened) => {
                Ok(Self { parts: opened.map(OnceCell::with_value).unwrap_or_default(), ..Self::new(raw) })
            }
            Err(refused) => Err(InvalidJson::of_text(&raw, Some(&refused))),
        }
    }

    /// The parts, opened on the first call; `None` for a value that has none.
    pub(super) fn opened(&self) -> Option<&Opened> {
        if let Some(opened) = self.parts.get() {
            return Some(opened);
        }
        let opened = match self.raw.trim_ascii() {
            [b'{' | b'[', ..] => open(&self.raw).ok()??,
            json @ [b'"', ..] => {
                Opened { parts: Parts::Content(serde_json::from_slice(json).ok()?), changed: false }
            }
            _ => return None,
        };
        Some(self.parts.get_or_init(|| opened))
    }

    /// Makes the parts ready for an edit and forgets the text that left; the parts' raw text comes with them.
    pub(super) fn opened_mut(&mut self) -> Option<(&mut Opened, &Bytes, &mut usize)> {
        if let Some(Some(text)) = self.text.take() {
            // What was read stays what is sent: the edit goes on from the text that left, since below the
            // parts there may still be duplicates that a reader of that text has not seen.
            self.raw = text;
            self.parts = OnceCell::new();
            self.opened()?;
            self.parts.get_mut()?.changed = true;
        }
        self.opened()?;
        Some((self.parts.get_mut()?, &self.raw, &mut self.size))
    }

    /// The value's text with its whole subtree deduplicated, which from now on is what is sent.
    pub(super) fn text(&self) -> &[u8] {
        self.text_cell().as_ref().unwrap_or(&self.raw).trim_ascii()
    }

    /// The text that has left, if any has; the inner `None` is the raw text.
    pub(super) fn left(&self) -> Option<Option<&Bytes>> {
        self.text.get().map(Option::as_ref)
    }

    fn text_cell(&self) -> &Option<Bytes> {
        self.text.get_or_init(|| {
            // One pass does, if nothing below has been looked at: there is nothing to agree with.
            let Some(opened) = self.parts.get().filter(|opened| opened.changed || opened.is_seen_below())
            else {
                return duplicates::cut(&self.raw).map(Bytes::from);
            };
            let mut changed = opened.changed;
            opened.children(|child| changed |= child.settle(&self.raw));
            changed.then(|| {
                let mut text = Vec::with_capacity(self.size);
                write::parts(&opened.parts, &self.raw, &mut text);
                text.into()
            })
        })
    }

    /// Is something else than the raw text sent for it?
    pub(super) fn is_changed(&self) -> bool {
        match self.left() {
            Some(left) => left.is_some(),
            None => self.parts.get().is_some_and(Opened::is_changed),
        }
    }

    /// The parts, if somebody has looked.
    pub(super) fn peek(&self) -> Option<&Opened> {
        self.parts.get()
    }
}

impl Opened {
    fn is_changed(&self) -> bool {
        self.changed || self.any_child(|child| child.peek().is_some_and(Seen::is_changed))
    }

    fn is_seen_below(&self) -> bool {
        self.any_child(|child| child.peek().is_some())
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
