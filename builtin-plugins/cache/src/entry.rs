//! A stored answer: a response and, if the answer was a stream, the events of that stream.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// A stored answer. Serializable, for backends outside this process.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    response: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    events: Option<Vec<Event>>,
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
    /// Creates an entry from a plain response, given as JSON text.
    pub fn from_response(response: String) -> Self {
        Self { response, events: None }
    }

    /// Creates an entry from a stream: the response with the same content, as JSON text, and the events.
    pub fn from_stream(response: String, events: Vec<Event>) -> Self {
        Self { response, events: Some(events) }
    }

    /// Returns the response as JSON text.
    pub fn response(&self) -> &str {
        &self.response
    }

    /// Returns the events, if the answer was a stream.
    pub fn events(&self) -> Option<&[Event]> {
        self.events.as_deref()
    }

    /// Returns the size of the texts of this entry, in bytes.
    pub fn size(&self) -> usize {
        let events = self.events.iter().flatten();
        self.response.len() + events.map(|event| event.name.len() + event.data.len()).sum::<usize>()
    }
}

/// The response of an entry, shared with the store.
pub(crate) struct Response(pub(crate) Arc<Entry>);

impl AsRef<str> for Response {
    fn as_ref(&self) -> &str {
        self.0.response()
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
            Entry::from_response("{\"x\" : 1}".to_owned()),
            Entry::from_stream("{}".to_owned(), vec![event(""), event("response.created")]),
        ] {
            let text = serde_json::to_string(&entry).expect("JSON");
            assert_eq!(serde_json::from_str::<Entry>(&text).expect("an entry"), entry);
        }
    }
}
