//! An answer that is not JSON, such as audio: bytes that pass to the client as they arrive.
//!
//! Providers make it for the endpoints of [`Endpoint::is_binary`](crate::Endpoint::is_binary). Hooks see a document that
//! describes it. Deliberately absent: the meaning of the bytes.

use std::{fmt, pin::Pin};

use bytes::Bytes;
use futures_util::Stream;
use serde_json::json;

use crate::{document::Document, error::Error};

/// The bytes of an answer. If the provider breaks off, the last item is an error.
pub type BinaryBody = Pin<Box<dyn Stream<Item = Result<Bytes, Error>> + Send>>;

/// An answer that is not JSON.
#[non_exhaustive]
pub struct Binary {
    /// The type of the content, as the provider stated it.
    pub content_type: String,
    /// The number of bytes; `None` if the provider did not announce it.
    pub length: Option<u64>,
    /// The bytes, as they arrive.
    pub body: BinaryBody,
}

impl Binary {
    /// An answer of bytes.
    pub fn new(content_type: impl Into<String>, length: Option<u64>, body: BinaryBody) -> Self {
        Self { content_type: content_type.into(), length, body }
    }

    /// Returns the document that hooks see: `{"object": "binary", "content_type", "bytes"}`. `bytes` is null if the length
    /// is not known yet.
    pub fn document(&self) -> Document {
        let (content_type, bytes) = (&*self.content_type, self.length);
        Document::from_value(&json!({"object": "binary", "content_type": content_type, "bytes": bytes}))
    }
}

impl fmt::Debug for Binary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Binary")
            .field("content_type", &self.content_type)
            .field("length", &self.length)
            .finish_non_exhaustive()
    }
}
