//! A stored answer: a response, or the events of a stream.

use std::{borrow::Cow, sync::Arc};

use llmux_abi::convert::Assembler;
use serde::{Deserialize, Serialize};

/// A stored answer. Serializable, for backends outside this process.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Entry {
    /// A plain response, as JSON text.
    #[serde(rename = "response")]
    Response(String),
    /// The events of a stream.
    #[serde(rename = "events")]
    Stream(Vec<Event>),
}

/// One event of a stored stream.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// The name of the event, empty if it has none.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// The data of the event, as JSON text.
    pub data: String,
}

impl Entry {
    /// Returns the response that a client reads who did not ask for a stream. Events are joined at each call, because few
    /// questions are asked in both ways. `None` if they are no whole stream.
    pub fn response(&self) -> Option<Cow<'_, str>> {
        match self {
            Self::Response(response) => Some(Cow::Borrowed(response)),
            Self::Stream(events) => {
                let mut assembler = Assembler::new();
                for event in events {
                    assembler.push_text(&event.data).ok()?;
                }
                assembler.finish_text().map(Cow::Owned)
            }
        }
    }

    /// Returns the events, if the answer was a stream.
    pub fn events(&self) -> Option<&[Event]> {
        match self {
            Self::Response(_) => None,
            Self::Stream(events) => Some(events),
        }
    }

    /// Returns the size of the texts of this entry, in bytes.
    pub fn size(&self) -> usize {
        match self {
            Self::Response(response) => response.len(),
            Self::Stream(events) => events.iter().map(|event| event.name.len() + event.data.len()).sum(),
        }
    }
}

/// The response of an entry, shared with the store. The entry is no stream.
pub(crate) struct Response(pub(crate) Arc<Entry>);

impl AsRef<str> for Response {
    fn as_ref(&self) -> &str {
        match &*self.0 {
            Entry::Response(response) => response,
            Entry::Stream(_) => "",
        }
    }
}

/// Returns the events of an entry. Each event is copied only when the client reads it.
pub(crate) fn replay(entry: Arc<Entry>) -> impl Iterator<Item = (String, String)> + Send + 'static {
    let mut at = 0;
    std::iter::from_fn(move || {
        let event = entry.events()?.get(at)?;
        at += 1;
        Some((event.name.clone(), event.data.clone()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_survives_being_written() {
        let event = |name: &str| Event { name: name.to_owned(), data: "{ \"b\":1, \"a\":2 }".to_owned() };
        for entry in [
            Entry::Response("{\"x\" : 1}".to_owned()),
            Entry::Stream(vec![event(""), event("response.created")]),
        ] {
            let text = serde_json::to_string(&entry).expect("JSON");
            assert_eq!(serde_json::from_str::<Entry>(&text).expect("an entry"), entry);
        }
    }
}
