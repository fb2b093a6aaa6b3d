//! A stored answer: a response, and where it was a stream, that stream's events.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// A stored answer. Serializable, for backends outside of this process.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    response: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    events: Option<Vec<Event>>,
}

/// One event of a stored stream.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// Its name, empty for none.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// Its data, JSON text.
    pub data: String,
}

impl Entry {
    /// An answer that came as a response: JSON text.
    pub fn from_response(response: String) -> Self {
        Self { response, events: None }
    }

    /// An answer that came as a stream: the response that says the same, and its events.
    pub fn from_stream(response: String, events: Vec<Event>) -> Self {
        Self { response, events: Some(events) }
    }

    /// The response, JSON text.
    pub fn response(&self) -> &str {
        &self.response
    }

    /// The events, if the answer came as a stream.
    pub fn events(&self) -> Option<&[Event]> {
        self.events.as_deref()
    }

    /// About how much memory it takes, in bytes.
    pub fn size(&self) -> usize {
        let events = self.events.iter().flatten();
        self.response.len() + events.map(|event| event.name.len() + event.data.len()).sum::<usize>()
    }
}

/// The events of an entry, copied one at a time, as the client reads.
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
