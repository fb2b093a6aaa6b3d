//! The response, as a view on the document that the host owns.

use std::ops::{Deref, DerefMut};

use super::{error::Result, handle::Document};
use crate::types::{ChatResponse, Usage};

/// A response on its way to the client. Any member can be reached through [`Document`]'s pointers; the
/// methods here name the common ones.
pub struct Response<'a> {
    document: Document<'a>,
}

impl<'a> Deref for Response<'a> {
    type Target = Document<'a>;

    fn deref(&self) -> &Document<'a> {
        &self.document
    }
}

impl<'a> DerefMut for Response<'a> {
    fn deref_mut(&mut self) -> &mut Document<'a> {
        &mut self.document
    }
}

impl<'a> Response<'a> {
    pub(crate) fn new(document: Document<'a>) -> Self {
        Self { document }
    }

    /// The model that answered.
    pub fn model(&self) -> Option<&str> {
        self.get_str("/model")
    }

    /// The text of the first choice.
    pub fn content(&self) -> Option<&str> {
        self.get_str("/choices/0/message/content").or_else(|| self.get_str("/choices/0/text"))
    }

    /// Replaces the text of the first choice.
    ///
    /// # Errors
    ///
    /// As [`Document::set`].
    pub fn set_content(&mut self, content: &str) -> Result<()> {
        let is_chat = self.text("/choices/0/message").is_some();
        self.set(if is_chat { "/choices/0/message/content" } else { "/choices/0/text" }, content)
    }

    /// Why the first choice ended, as `stop`.
    pub fn finish_reason(&self) -> Option<&str> {
        self.get_str("/choices/0/finish_reason")
    }

    /// The tokens used, where the provider says so.
    pub fn usage(&self) -> Option<Usage> {
        self.get("/usage")
    }
}

impl Response<'_> {
    /// A whole chat response with this text, to answer with in a provider's place.
    pub fn text(content: impl Into<String>) -> ChatResponse {
        ChatResponse::text(content)
    }
}
