//! One chunk of a stream, as a view on the document that the host owns.

use std::ops::{Deref, DerefMut};

use super::{
    error::{Error, Result},
    handle::Document,
};
use crate::types::Usage;

/// A chunk on its way to the client: one event of the stream. Events whose data is not JSON pass without a hook call.
pub struct Chunk<'a> {
    event: &'a str,
    document: Document<'a>,
}

impl<'a> Deref for Chunk<'a> {
    type Target = Document<'a>;

    fn deref(&self) -> &Document<'a> {
        &self.document
    }
}

impl<'a> DerefMut for Chunk<'a> {
    fn deref_mut(&mut self) -> &mut Document<'a> {
        &mut self.document
    }
}

impl<'a> Chunk<'a> {
    pub(crate) fn new(event: &'a str, document: Document<'a>) -> Self {
        Self { event, document }
    }

    /// Returns the event's name. Chat streams have none.
    pub fn event(&self) -> Option<&'a str> {
        (!self.event.is_empty()).then_some(self.event)
    }

    /// Returns the text that this chunk adds and its pointer, by the chunk's kind.
    fn text_and_pointer(&self) -> Option<(&str, &'static str)> {
        let places: &[_] = match self.get_str("/type") {
            Some("response.output_text.delta") => &["/delta"],
            _ => &["/choices/0/delta/content", "/choices/0/text"],
        };
        places.iter().find_map(|place| Some((self.get_str(place)?, *place)))
    }

    /// Returns the text that this chunk adds to the first choice.
    pub fn delta(&self) -> Option<&str> {
        self.text_and_pointer().map(|(text, _)| text)
    }

    /// Replaces the text that this chunk adds.
    ///
    /// # Errors
    ///
    /// When the chunk adds no text.
    pub fn set_delta(&mut self, text: &str) -> Result<()> {
        let (_, place) = self.text_and_pointer().ok_or_else(|| Error::new("this chunk adds no text"))?;
        self.set(place, text)
    }

    /// Returns the reason why the first choice ended, as `stop`, in its last chunk.
    pub fn finish_reason(&self) -> Option<&str> {
        self.get_str("/choices/0/finish_reason")
    }

    /// Returns the tokens used, in the chunk that states them.
    pub fn usage(&self) -> Option<Usage> {
        self.get("/usage").or_else(|| self.get("/response/usage"))
    }
}
