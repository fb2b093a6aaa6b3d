//! A JSON body as hooks see it: parsed when somebody looks, bounded, and with a way back from a failed hook.

use std::sync::{Arc, OnceLock};

use bytes::Bytes;

use crate::{
    document::{Document, EditError},
    provider::Event,
};

/// A body inside the pipeline. What a hook changes can be undone until `commit`.
#[derive(Clone, Debug)]
pub(crate) struct Body {
    content: Content,
    /// What it was before the call under way changed it.
    saved: Option<Content>,
    /// The largest that an edit may make it, in bytes; `None` for a body that may only be read.
    limit: Option<usize>,
}

#[derive(Clone, Debug)]
struct Content {
    text: Bytes,
    /// The document, or `None` where the text is not JSON.
    parsed: OnceLock<Option<Document>>,
}

/// Why an edit was not made.
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
        Self { content: Content::of(document), saved: None, limit: Some(limit) }
    }

    /// A body that hooks may read.
    pub(crate) fn read_only(document: Document) -> Self {
        Self { content: Content::of(document), saved: None, limit: None }
    }

    /// A body that nobody has parsed yet.
    fn unparsed(text: Bytes, limit: usize) -> Self {
        Self { content: Content { text, parsed: OnceLock::new() }, saved: None, limit: Some(limit) }
    }

    pub(crate) fn is_read_only(&self) -> bool {
        self.limit.is_none()
    }

    /// The document, unless the text is not JSON.
    pub(crate) fn document(&self) -> Option<&Document> {
        self.content.parsed.get_or_init(|| Document::parse(self.content.text.clone()).ok()).as_ref()
    }

    /// The text: byte for byte what came in, unless it was edited.
    pub(crate) fn bytes(&self) -> Bytes {
        match self.content.parsed.get() {
            Some(Some(document)) => document.to_bytes(),
            _ => self.content.text.clone(),
        }
    }

    /// The document, where there is one to take.
    pub(crate) fn into_document(self) -> Option<Document> {
        self.document();
        self.content.parsed.into_inner().flatten()
    }

    /// Edits the document, keeping what it was. `growth` is how many bytes the edit brings.
    pub(crate) fn edit(
        &mut self,
        growth: usize,
        edit: impl FnOnce(&mut Document) -> Result<(), EditError>,
    ) -> Result<(), EditRefused> {
        let limit = self.limit.ok_or(EditRefused::ReadOnly)?;
        let document = self.document().ok_or(EditRefused::NoSuchPlace)?;
        if growth > 0 && growth.saturating_add(document.size()) > limit {
            return Err(EditRefused::TooLarge);
        }
        if self.saved.is_none() {
            self.saved = Some(self.content.clone());
        }
        let Some(Some(document)) = self.content.parsed.get_mut() else {
            return Err(EditRefused::NoSuchPlace);
        };
        edit(document).map_err(|error| match error {
            EditError::NoSuchPlace => EditRefused::NoSuchPlace,
            EditError::InvalidJson(_) => EditRefused::InvalidJson,
        })
    }

    /// Has the call under way changed anything?
    pub(crate) fn is_changed(&self) -> bool {
        self.saved.is_some()
    }

    /// Keeps what the call changed.
    pub(crate) fn commit(&mut self) {
        self.saved = None;
    }

    /// Undoes what the call changed.
    pub(crate) fn roll_back(&mut self) {
        if let Some(saved) = self.saved.take() {
            self.content = saved;
        }
    }
}

impl Content {
    /// The text is taken from the document when it is asked for.
    fn of(document: Document) -> Self {
        Self { text: Bytes::new(), parsed: OnceLock::from(Some(document)) }
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
        Self { event: event.name, body: Body::unparsed(event.data, limit) }
    }

    /// The event's name, where it has one.
    pub fn event(&self) -> Option<&str> {
        self.event.as_deref()
    }

    /// The event's data: byte for byte what came in, unless a plugin edited it.
    pub fn data(&self) -> Bytes {
        self.body.bytes()
    }

    /// The data as a document; `None` where it is not JSON.
    pub fn document(&self) -> Option<&Document> {
        self.body.document()
    }
}
