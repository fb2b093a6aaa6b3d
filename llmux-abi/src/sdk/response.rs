//! The response, as a view of the document that the host owns.

use std::ops::{Deref, DerefMut};

use super::{error::Result, handle::Document};
use crate::types::{ChatResponse, Usage};

/// A response on its way to the client. [`Document`]'s pointers reach every member. The methods here read and set the
/// common ones.
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

    /// Returns the model that answered.
    pub fn model(&self) -> Option<&str> {
        self.get_str("/model")
    }

    /// Returns the text of the first choice.
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

    /// Returns the reason why the first choice ended, as `stop`.
    pub fn finish_reason(&self) -> Option<&str> {
        self.get_str("/choices/0/finish_reason")
    }

    /// Returns the number of tokens used. `None` if the provider does not state it.
    pub fn usage(&self) -> Option<Usage> {
        self.get("/usage")
    }
}

impl Response<'_> {
    /// Returns a complete chat response with this text, for a plugin that answers instead of the provider.
    pub fn text(content: impl Into<String>) -> ChatResponse {
        ChatResponse::text(content)
    }
}
