//! The request, as a view of the document that the host owns.

use std::{
    borrow::Cow,
    ops::{Deref, DerefMut},
};

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::{error::Result, handle::Document};

/// A request on its way to the provider. [`Document`]'s pointers reach every member. The methods here read and set the
/// common ones.
pub struct Request<'a> {
    document: Document<'a>,
}

impl<'a> Deref for Request<'a> {
    type Target = Document<'a>;

    fn deref(&self) -> &Document<'a> {
        &self.document
    }
}

impl<'a> DerefMut for Request<'a> {
    fn deref_mut(&mut self) -> &mut Document<'a> {
        &mut self.document
    }
}

impl<'a> Request<'a> {
    pub(crate) fn new(document: Document<'a>) -> Self {
        Self { document }
    }

    /// Returns the requested model.
    pub fn model(&self) -> &str {
        self.get_str("/model").unwrap_or_default()
    }

    /// Sets the model. The host then resolves the route again.
    ///
    /// # Errors
    ///
    /// As [`Document::set`].
    pub fn set_model(&mut self, model: &str) -> Result<()> {
        self.set("/model", model)
    }

    /// Returns the messages of a chat, in order. Empty if the body has no `messages`.
    pub fn messages(&self) -> impl DoubleEndedIterator<Item = Message<'_>> + ExactSizeIterator {
        let count = self.len("/messages").unwrap_or(0);
        (0..count).map(|index| {
            let json = self.text(&format!("/messages/{index}")).unwrap_or("null");
            Message { json, index }
        })
    }

    /// Returns the text of the last message of role `user`. On other endpoints, returns `input` or `prompt` if that
    /// member is a string.
    pub fn last_user_text(&self) -> Option<String> {
        if let Some(message) = self.messages().rev().find(|message| message.role().as_deref() == Some("user"))
        {
            return Some(message.text());
        }
        self.get_str("/input").or_else(|| self.get_str("/prompt")).map(str::to_owned)
    }

    /// Inserts a message before all others. If the body has no `messages`, changes nothing and returns false.
    ///
    /// # Errors
    ///
    /// As [`Document::insert`].
    pub fn prepend_message(&mut self, role: &str, content: &str) -> Result<bool> {
        self.add_message("/messages/0", role, content)
    }

    /// Appends a message after all others. If the body has no `messages`, changes nothing and returns false.
    ///
    /// # Errors
    ///
    /// As [`Document::insert`].
    pub fn append_message(&mut self, role: &str, content: &str) -> Result<bool> {
        self.add_message("/messages/-", role, content)
    }

    fn add_message(&mut self, place: &str, role: &str, content: &str) -> Result<bool> {
        if self.len("/messages").is_none() {
            return Ok(false);
        }
        self.insert(place, NewMessage { role, content })?;
        Ok(true)
    }
}

/// A message to add. The fields are in the usual order of the JSON members: `role`, then `content`.
#[derive(Serialize)]
struct NewMessage<'m> {
    role: &'m str,
    content: &'m str,
}

/// One message of a chat request. It reads its own JSON text, so that all messages together cost one look at each.
#[derive(Clone, Copy)]
pub struct Message<'r> {
    json: &'r str,
    index: usize,
}

/// The members of a message that its methods read.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Members<'m> {
    #[serde(borrow)]
    role: Option<&'m RawValue>,
    #[serde(borrow)]
    content: Option<&'m RawValue>,
}

/// A part of a message's content.
#[derive(Deserialize)]
struct Part<'p> {
    #[serde(borrow)]
    text: &'p RawValue,
}

/// A JSON string, borrowed if it has no escapes.
#[derive(Deserialize)]
struct Text<'t>(#[serde(borrow)] Cow<'t, str>);

/// Returns a value as a string, or `None` if it is of another kind.
fn string(json: &RawValue) -> Option<Cow<'_, str>> {
    serde_json::from_str::<Text<'_>>(json.get()).ok().map(|text| text.0)
}

impl<'r> Message<'r> {
    fn members(&self) -> Members<'r> {
        serde_json::from_str(self.json).unwrap_or_default()
    }

    /// Returns the message's position in `messages`, from 0.
    pub fn index(&self) -> usize {
        self.index
    }

    /// Returns the pointer of one of the message's members: `message.pointer("content")` is `/messages/3/content`.
    pub fn pointer(&self, member: &str) -> String {
        format!("/messages/{}/{member}", self.index)
    }

    /// Returns the message's role, as `user`.
    pub fn role(&self) -> Option<Cow<'r, str>> {
        self.members().role.and_then(string)
    }

    /// Returns the message's content if it is a plain string.
    pub fn content(&self) -> Option<Cow<'r, str>> {
        self.members().content.and_then(string)
    }

    /// Returns the message's text: the content, or the text parts of the content joined by newlines.
    pub fn text(&self) -> String {
        let Some(content) = self.members().content else { return String::new() };
        if let Some(content) = string(content) {
            return content.into_owned();
        }
        let parts: Vec<&RawValue> = serde_json::from_str(content.get()).unwrap_or_default();
        let texts = parts.into_iter().filter_map(|part| {
            let part: Part<'_> = serde_json::from_str(part.get()).ok()?;
            string(part.text)
        });
        texts.collect::<Vec<_>>().join("\n")
    }
}
