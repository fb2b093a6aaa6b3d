//! A JSON document that the host owns.

use abi_stable::sabi_types::RMut;
use serde::{Serialize, de::DeserializeOwned};

use crate::{
    raw::document::{self, DocumentObject, DocumentTableRef, RawDocument},
    sdk::{
        error::{Error, Result},
        strings::for_each_string,
    },
};

/// A JSON document that the host owns: read and edited by JSON Pointer (RFC 6901).
///
/// `""` is the whole document, `/messages/0/content` a place in it; in a last segment, `-` is the place
/// after an array's last element; `~1` stands for a `/` in a name, `~0` for a `~`. Requests, responses and chunks
/// are all documents: their views deref to this.
///
/// ```
/// # use llmux_abi::prelude::*;
/// fn calm(request: &mut Request<'_>) -> Result<()> {
///     if request.get::<f64>("/temperature").is_some_and(|temperature| temperature > 1.0) {
///         request.set("/temperature", 1.0)?;
///     }
///     request.remove("/logit_bias")?;
///     request.set("/messages/-", serde_json::json!({"role": "user", "content": "Calmly, please."}))
/// }
/// ```
///
/// A value that is read is borrowed from the host until the next edit. Parts that no plugin edits are sent unchanged,
/// byte for byte. An edit may make the document as large as the host allows (`max_body_bytes`, 32 MiB by default). The
/// edits of a hook that fails are undone.
pub struct Document<'a> {
    object: RMut<'a, DocumentObject>,
    table: DocumentTableRef,
}

impl<'a> Document<'a> {
    pub(crate) fn new(raw: RawDocument<'a>) -> Self {
        // SAFETY: the host lends the object for this time, see the head.
        Self { object: unsafe { RMut::from_raw(raw.object) }, table: raw.table }
    }

    /// Returns the JSON text of a place as it is written there, or `None` if there is no such place. Nothing is copied.
    pub fn text(&self, pointer: &str) -> Option<&str> {
        // SAFETY: the host's table and object belong together, see the head.
        let text = unsafe { self.table.get()(self.object.as_rref(), pointer.into()) };
        text.into_option().map(|text| text.as_str())
    }

    /// Returns the content of a string, or `None` if the place does not exist or holds another kind of value.
    pub fn get_str(&self, pointer: &str) -> Option<&str> {
        // SAFETY: the host's table and object belong together, see the head.
        let text = unsafe { self.table.get_str()(self.object.as_rref(), pointer.into()) };
        text.into_option().map(|text| text.as_str())
    }

    /// Returns a value of any type that serde reads, or `None` if the place does not exist or holds another type.
    pub fn get<T: DeserializeOwned>(&self, pointer: &str) -> Option<T> {
        serde_json::from_str(self.text(pointer)?).ok()
    }

    /// Returns the number of members of an object or elements of an array; `None` for anything else.
    pub fn len(&self, pointer: &str) -> Option<usize> {
        // SAFETY: the host's table and object belong together, see the head.
        let len = unsafe { self.table.len()(self.object.as_rref(), pointer.into()) };
        len.into_option().and_then(|len| len.try_into().ok())
    }

    /// Parses the whole document as a type of the caller's choice, for instance one of [`types`](crate::types).
    ///
    /// # Errors
    ///
    /// If the document does not fit the type. The error is serde's and names the member.
    pub fn parse<T: DeserializeOwned>(&self) -> Result<T> {
        Ok(serde_json::from_str(self.text("").unwrap_or("null"))?)
    }

    /// Calls `visit` with the pointer and the content of every string, for plugins that inspect all text. The strings come
    /// in the order of the text.
    ///
    /// The pointer is lent for the call. A body can have names of megabytes around many strings, so that a plugin which
    /// keeps pointers bounds the sum of their lengths.
    ///
    /// # Errors
    ///
    /// If the document is nested more than 127 levels deep.
    pub fn for_each_string(&self, mut visit: impl FnMut(&str, &str)) -> Result<()> {
        Ok(for_each_string(self.text("").unwrap_or("null"), &mut visit)?)
    }

    /// Adds a member or replaces it; replaces an element, or with `-` appends one. The parent must exist.
    ///
    /// # Errors
    ///
    /// If there is no such place, the document is read-only, or it would become too large.
    pub fn set(&mut self, pointer: &str, value: impl Serialize) -> Result<()> {
        self.set_text(pointer, &serde_json::to_string(&value)?)
    }

    /// Adds or replaces a member or an element like [`set`](Self::set), with JSON text.
    ///
    /// # Errors
    ///
    /// As [`set`](Self::set), and when the text is not JSON.
    pub fn set_text(&mut self, pointer: &str, json: &str) -> Result<()> {
        // SAFETY: the host's table and object belong together, see the head.
        let code = unsafe { self.table.set()(self.object.reborrow(), pointer.into(), json.into()) };
        edited(code, pointer)
    }

    /// Inserts an element before the one that the pointer names and moves the later elements back. In an object, sets a
    /// member.
    ///
    /// # Errors
    ///
    /// As [`set`](Self::set).
    pub fn insert(&mut self, pointer: &str, value: impl Serialize) -> Result<()> {
        let json = serde_json::to_string(&value)?;
        // SAFETY: the host's table and object belong together, see the head.
        let code =
            unsafe { self.table.insert()(self.object.reborrow(), pointer.into(), json.as_str().into()) };
        edited(code, pointer)
    }

    /// Removes a member or an element. Returns false if there was none.
    ///
    /// # Errors
    ///
    /// If the document is read-only.
    pub fn remove(&mut self, pointer: &str) -> Result<bool> {
        // SAFETY: the host's table and object belong together, see the head.
        match unsafe { self.table.remove()(self.object.reborrow(), pointer.into()) } {
            document::DOCUMENT_NO_SUCH_PLACE => Ok(false),
            code => edited(code, pointer).map(|()| true),
        }
    }

    /// Replaces the whole document.
    ///
    /// # Errors
    ///
    /// As [`set`](Self::set).
    pub fn replace(&mut self, value: impl Serialize) -> Result<()> {
        self.set("", value)
    }
}

pub(super) fn edited(code: u32, pointer: &str) -> Result<()> {
    let why = match code {
        document::DOCUMENT_OK => return Ok(()),
        document::DOCUMENT_NO_SUCH_PLACE => "there is no such place",
        document::DOCUMENT_INVALID_JSON => "the value is not JSON",
        document::DOCUMENT_READ_ONLY => "this document is read-only",
        document::DOCUMENT_TOO_LARGE => "the document would become too large",
        _ => "the host refused the edit",
    };
    Err(Error::new(format!("cannot edit `{pointer}`: {why}")))
}
