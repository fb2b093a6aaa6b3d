//! A JSON body as hooks see it: parsed when somebody looks, bounded, and with a way back from a failed hook.

use std::sync::Arc;

use bytes::Bytes;
use once_cell::sync::OnceCell;

use crate::{
    document::{Document, EditError},
    provider::Event,
};

/// A body inside the pipeline. What a hook changes can be undone until `commit`.
#[derive(Clone, Debug)]
pub(crate) struct Body {
    content: Content,
    /// What it was before the call under way changed it. Most calls change nothing.
    saved: Option<Box<Content>>,
    /// The largest that an edit may make it, in bytes; `None` for a body that may only be read.
    limit: Option<usize>,
    edits: u32,
}

#[derive(Clone, Debug)]
enum Content {
    Parsed(Document),
    /// A text that may not be JSON, and its document once somebody has looked.
    Text(Bytes, OnceCell<Option<Document>>),
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
        Self { content: Content::Parsed(document), saved: None, limit: Some(limit), edits: 0 }
    }

    /// A body that hooks may read.
    pub(crate) fn read_only(document: Document) -> Self {
        Self { content: Content::Parsed(document), saved: None, limit: None, edits: 0 }
    }

    /// A body that nobody has parsed yet.
    fn unparsed(text: Bytes, limit: usize) -> Self {
        Self { content: Content::Text(text, OnceCell::new()), saved: None, limit: Some(limit), edits: 0 }
    }

    pub(crate) fn is_read_only(&self) -> bool {
        self.limit.is_none()
    }

    /// The document, unless the text is not JSON.
    pub(crate) fn document(&self) -> Option<&Document> {
        match &self.content {
            Content::Parsed(document) => Some(document),
            Content::Text(text, parsed) => parsed.get_or_init(|| Document::parse(text.clone()).ok()).as_ref(),
        }
    }

    /// The text: byte for byte what came in, unless it was edited.
    pub(crate) fn bytes(&self) -> Bytes {
        match &self.content {
            Content::Parsed(document) => document.to_bytes(),
            Content::Text(text, parsed) => match parsed.get() {
                Some(Some(document)) => document.to_bytes(),
                _ => text.clone(),
            },
        }
    }

    /// The document, where there is one to take.
    pub(crate) fn into_document(self) -> Option<Document> {
        self.document();
        match self.content {
            Content::Parsed(document) => Some(document),
            Content::Text(_, parsed) => parsed.into_inner().flatten(),
        }
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
            self.saved = Some(Box::new(self.content.clone()));
        }
        self.edits = self.edits.wrapping_add(1);
        let document = match &mut self.content {
            Content::Parsed(document) => Some(document),
            Content::Text(_, parsed) => parsed.get_mut().and_then(Option::as_mut),
        };
        edit(document.ok_or(EditRefused::NoSuchPlace)?).map_err(|error| match error {
            EditError::NoSuchPlace => EditRefused::NoSuchPlace,
            EditError::InvalidJson(_) => EditRefused::InvalidJson,
        })
    }

    /// How often it has been changed: two equal numbers are one text.
    pub(crate) fn edits(&self) -> u32 {
        self.edits
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
            self.content = *saved;
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
