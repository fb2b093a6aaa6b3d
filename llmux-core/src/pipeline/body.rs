//! A JSON body as hooks see it: parsed on first access, bounded in size, restored after a failed hook.

use std::{num::NonZeroUsize, sync::Arc};

use bytes::Bytes;
use once_cell::sync::OnceCell;

use super::{
    text::Frame,
    traffic::{Counter, Traffic},
};
use crate::{
    document::{Document, EditError},
    provider::Event,
};

/// A body inside the pipeline. Edits of a hook can be undone until `commit`.
#[derive(Clone, Debug)]
pub(crate) struct Body {
    content: Content,
    /// Saved by the first edit of the current call. Most calls edit nothing.
    saved: Option<Box<Saved>>,
    /// The largest size that an edit may produce, in bytes; `None` for a body that may only be read.
    limit: Option<NonZeroUsize>,
    edits: u32,
    /// True if a list of the edits is kept. Only the child process of an instance keeps one.
    keeps_journal: bool,
    /// Bytes that the current call has read and written.
    read: Counter,
    written: Counter,
}

/// An edit of a document: the pointer, and the JSON text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Edit {
    Set(String, String),
    Insert(String, String),
    Remove(String),
}

/// The content before the first edit of the current call, and the edits since.
#[derive(Clone, Debug)]
struct Saved {
    content: Content,
    /// Empty, unless a list of the edits is kept.
    journal: Vec<Edit>,
}

#[derive(Clone, Debug)]
enum Content {
    Parsed(Document),
    /// A text, and its document once it has been parsed. The frame is set if the text is known to be JSON that every reader
    /// receives as it came.
    Text {
        text: Bytes,
        frame: Option<Arc<Frame>>,
        parsed: OnceCell<Option<Document>>,
    },
}

/// The reason for which an edit was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum EditRefused {
    NoSuchPlace,
    InvalidJson,
    ReadOnly,
    TooLarge,
}

impl Body {
    /// A body that hooks may edit up to a size.
    pub(crate) fn new(document: Document, limit: usize) -> Self {
        Self::of(Content::Parsed(document), Some(limit))
    }

    /// A body that hooks may read.
    pub(crate) fn read_only(document: Document) -> Self {
        Self::of(Content::Parsed(document), None)
    }

    /// A body of a text that is parsed on first access. `limit` is the largest size that an edit may produce, in bytes; `None` for a
    /// body that hooks may read.
    pub(crate) fn of_text(text: Bytes, limit: Option<usize>) -> Self {
        Self::of(Content::Text { text, frame: None, parsed: OnceCell::new() }, limit)
    }

    /// A body that has not been parsed.
    fn unparsed(text: Bytes, frame: Option<Arc<Frame>>, limit: usize) -> Self {
        Self::of(Content::Text { text, frame, parsed: OnceCell::new() }, Some(limit))
    }

    fn of(content: Content, limit: Option<usize>) -> Self {
        // No edit fits into a byte, nor into none.
        let limit = limit.map(|limit| NonZeroUsize::new(limit).unwrap_or(NonZeroUsize::MIN));
        let (read, written) = (Counter::default(), Counter::default());
        Self { content, saved: None, limit, edits: 0, keeps_journal: false, read, written }
    }

    /// Keeps a list of the edits from now on.
    pub(crate) fn keep_journal(&mut self) {
        self.keeps_journal = true;
    }

    /// Returns true if a list of the edits is kept.
    pub(crate) fn keeps_journal(&self) -> bool {
        self.keeps_journal
    }

    /// Adds an edit that was made to the list.
    pub(crate) fn record(&mut self, edit: Edit) {
        if let Some(saved) = self.saved.as_mut().filter(|_| self.keeps_journal) {
            saved.journal.push(edit);
        }
    }

    /// Returns the edits of the current call; none if no list is kept.
    pub(crate) fn journal(&self) -> &[Edit] {
        self.saved.as_deref().map_or(&[], |saved| &saved.journal)
    }

    /// Returns the largest size that an edit may produce; `None` for a body that may only be read.
    pub(crate) fn limit(&self) -> Option<usize> {
        self.limit.map(NonZeroUsize::get)
    }

    pub(crate) fn is_read_only(&self) -> bool {
        self.limit.is_none()
    }

    /// Returns the document; `None` if the text is not JSON.
    pub(crate) fn document(&self) -> Option<&Document> {
        match &self.content {
            Content::Parsed(document) => Some(document),
            Content::Text { text, parsed, .. } => {
                parsed.get_or_init(|| Document::parse_lenient(text.clone()).ok()).as_ref()
            }
        }
    }

    /// Returns a value as JSON text, as `Document::get` does. The whole of a text that is known to be JSON is not parsed.
    pub(crate) fn get(&self, pointer: &str) -> Option<&str> {
        if let Content::Text { text, frame: Some(_), parsed } = &self.content
            && pointer.is_empty()
            && parsed.get().is_none()
        {
            return simdutf8::basic::from_utf8(text.trim_ascii()).ok();
        }
        self.document()?.get(pointer)
    }

    /// Returns the frame and the text of a body that was not edited.
    pub(super) fn frame(&self) -> Option<(&Arc<Frame>, &Bytes)> {
        match &self.content {
            Content::Text { text, frame: Some(frame), .. } if self.edits == 0 => Some((frame, text)),
            _ => None,
        }
    }

    /// Returns true if the text was parsed.
    #[cfg(test)]
    pub(crate) fn is_parsed(&self) -> bool {
        match &self.content {
            Content::Parsed(_) => true,
            Content::Text { parsed, .. } => parsed.get().is_some(),
        }
    }

    /// Returns the text. A body that was not edited stays byte for byte.
    pub(crate) fn bytes(&self) -> Bytes {
        match &self.content {
            Content::Parsed(document) => document.to_bytes(),
            Content::Text { text, parsed, .. } => match parsed.get() {
                Some(Some(document)) => document.to_bytes(),
                _ => text.clone(),
            },
        }
    }

    /// Takes the document out; `None` if the text is not JSON.
    pub(crate) fn into_document(self) -> Option<Document> {
        self.document();
        match self.content {
            Content::Parsed(document) => Some(document),
            Content::Text { parsed, .. } => parsed.into_inner().flatten(),
        }
    }

    /// Edits the document and keeps the content before. `growth` is the number of bytes that the edit adds.
    pub(crate) fn edit(
        &mut self,
        growth: usize,
        edit: impl FnOnce(&mut Document) -> Result<(), EditError>,
    ) -> Result<(), EditRefused> {
        let limit = self.limit.ok_or(EditRefused::ReadOnly)?;
        let document = self.document().ok_or(EditRefused::NoSuchPlace)?;
        if growth > 0 && growth.saturating_add(document.size()) > limit.get() {
            return Err(EditRefused::TooLarge);
        }
        if self.saved.is_none() {
            let (content, journal) = (self.content.clone(), Vec::new());
            self.saved = Some(Box::new(Saved { content, journal }));
        }
        self.edits = self.edits.wrapping_add(1);
        let document = match &mut self.content {
            Content::Parsed(document) => Some(document),
            Content::Text { parsed, .. } => parsed.get_mut().and_then(Option::as_mut),
        };
        edit(document.ok_or(EditRefused::NoSuchPlace)?).map_err(|error| match error {
            EditError::NoSuchPlace => EditRefused::NoSuchPlace,
            EditError::InvalidJson(_) => EditRefused::InvalidJson,
        })
    }

    /// Returns the number of edits so far. As long as it stays the same, so does the text.
    pub(crate) fn edits(&self) -> u32 {
        self.edits
    }

    /// Adds to the bytes that the current call has read.
    pub(crate) fn count_read(&self, bytes: usize) {
        self.read.add(bytes);
    }

    /// Adds to the bytes that the current call has written.
    pub(crate) fn count_written(&self, bytes: usize) {
        self.written.add(bytes);
    }

    /// Returns the bytes of the current call, and starts counting again.
    pub(crate) fn take_traffic(&mut self) -> Traffic {
        Traffic { read: self.read.take(), written: self.written.take() }
    }

    /// Returns true if the current call has edited the body.
    pub(crate) fn is_changed(&self) -> bool {
        self.saved.is_some()
    }

    /// Keeps the edits of the current call.
    pub(crate) fn commit(&mut self) {
        self.saved = None;
    }

    /// Undoes the edits of the current call.
    pub(crate) fn roll_back(&mut self) {
        if let Some(saved) = self.saved.take() {
            self.content = saved.content;
        }
    }
}

/// One event of a stream on its way to the client.
#[derive(Clone, Debug)]
pub struct Chunk {
    pub(crate) event: Option<Arc<str>>,
    pub(crate) body: Body,
}

impl Chunk {
    pub(crate) fn new(event: Event, limit: usize) -> Self {
        Self { event: event.name, body: Body::unparsed(event.data, None, limit) }
    }

    /// A chunk with a known frame.
    pub(super) fn of_frame(event: Event, limit: usize, frame: Arc<Frame>) -> Self {
        Self { event: event.name, body: Body::unparsed(event.data, Some(frame), limit) }
    }

    /// Makes a chunk of a document. A later edit of it is small, because the host made the chunk itself.
    pub(crate) fn of(name: Option<&str>, document: &Document) -> Self {
        Self::new(Event { name: name.map(Into::into), data: document.to_bytes() }, usize::MAX)
    }

    /// Makes a chunk with these choices, a JSON list. The other members of the chunk are those of the pattern.
    pub(super) fn like(pattern: &Document, choices: &str) -> Self {
        let mut document = pattern.clone();
        let set = document.set("/choices", choices);
        debug_assert!(set.is_ok(), "a chunk is an object");
        if document.get("/usage").is_some_and(|usage| usage != "null") {
            // The usage is that of the whole stream, and stands in one chunk.
            let _ = document.set("/usage", "null");
        }
        Self::of(None, &document)
    }

    /// Returns the event's name, if it has one.
    pub fn event(&self) -> Option<&str> {
        self.event.as_deref()
    }

    /// Returns the event's data. Data that no plugin edited stays byte for byte.
    pub fn data(&self) -> Bytes {
        self.body.bytes()
    }

    /// Returns the data as a document; `None` if it is not JSON.
    pub fn document(&self) -> Option<&Document> {
        self.body.document()
    }
}
