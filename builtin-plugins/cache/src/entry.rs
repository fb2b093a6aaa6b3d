//! A stored answer: a response, or the events of a stream.

use std::{borrow::Cow, sync::Arc};

use llmux_abi::convert::Assembler;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A stored answer. Serializable, for backends outside this process.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Entry {
    /// A plain response, as JSON text.
    #[serde(rename = "response")]
    Response(String),
    /// The events of a stream.
    #[serde(rename = "events")]
    Stream(Events),
}

/// The events of a stored stream, one after the other in one text. Serialized as a list of [`Event`].
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Events {
    text: String,
    /// The end of the name and of the data of each event.
    ends: Vec<(usize, usize)>,
}

/// One event of a stored stream.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Event<'e> {
    /// The name of the event, empty if it has none.
    #[serde(borrow, default, skip_serializing_if = "str::is_empty")]
    pub name: Cow<'e, str>,
    /// The data of the event, as JSON text.
    #[serde(borrow)]
    pub data: Cow<'e, str>,
}

impl Events {
    /// Adds an event.
    pub fn push(&mut self, name: &str, data: &str) {
        self.text.push_str(name);
        let name = self.text.len();
        self.text.push_str(data);
        self.ends.push((name, self.text.len()));
    }

    /// Returns the number of events.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Returns true if there is no event.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// Returns the size of all names and data, in bytes.
    pub fn size(&self) -> usize {
        self.text.len()
    }

    /// Returns the event at a place, from 0; `None` if there is none.
    pub fn get(&self, at: usize) -> Option<Event<'_>> {
        let &(name, data) = self.ends.get(at)?;
        let start = at.checked_sub(1).map_or(0, |before| self.ends[before].1);
        Some(Event { name: self.text[start..name].into(), data: self.text[name..data].into() })
    }

    /// Returns the events in order.
    pub fn iter(&self) -> impl Iterator<Item = Event<'_>> {
        (0..self.len()).filter_map(|at| self.get(at))
    }

    /// Releases the memory that was reserved for more events.
    pub(crate) fn shrink(&mut self) {
        self.text.shrink_to_fit();
        self.ends.shrink_to_fit();
    }
}

impl Serialize for Events {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.iter())
    }
}

impl<'de> Deserialize<'de> for Events {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut events = Self::default();
        for Event { name, data } in Vec::deserialize(deserializer)? {
            events.push(&name, &data);
        }
        Ok(events)
    }
}

impl Entry {
    /// Returns the response that a client reads who did not ask for a stream. Events are joined at each call, because few
    /// questions are asked in both ways. `None` if they are no whole stream.
    pub fn response(&self) -> Option<Cow<'_, str>> {
        match self {
            Self::Response(response) => Some(Cow::Borrowed(response)),
            Self::Stream(events) => {
                let mut assembler = Assembler::new();
                for event in events.iter() {
                    assembler.push_text(&event.data).ok()?;
                }
                assembler.finish_text().map(Cow::Owned)
            }
        }
    }

    /// Returns the events, if the answer was a stream.
    pub fn events(&self) -> Option<&Events> {
        match self {
            Self::Response(_) => None,
            Self::Stream(events) => Some(events),
        }
    }

    /// Returns the size of the texts of this entry, in bytes.
    pub fn size(&self) -> usize {
        match self {
            Self::Response(response) => response.len(),
            Self::Stream(events) => events.size(),
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
        let Event { name, data } = entry.events()?.get(at)?;
        at += 1;
        Some((name.into_owned(), data.into_owned()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_survives_being_written() {
        let mut events = Events::default();
        for name in ["", "response.created", ""] {
            events.push(name, "{ \"b\":1, \"a\":2 }");
        }
        let names: Vec<_> = events.iter().map(|event| event.name.into_owned()).collect();
        assert_eq!((names, events.get(3)), (["", "response.created", ""].map(str::to_owned).to_vec(), None));
        assert!(events.iter().all(|event| event.data == "{ \"b\":1, \"a\":2 }"));
        for (entry, written) in [
            (Entry::Response("{\"x\" : 1}".to_owned()), r#"{"response":"{\"x\" : 1}"}"#),
            (
                Entry::Stream(events),
                r#"{"events":[{"data":"{ \"b\":1, \"a\":2 }"},{"name":"response.created","data":"{ \"b\":1, \"a\":2 }"},{"data":"{ \"b\":1, \"a\":2 }"}]}"#,
            ),
        ] {
            let text = serde_json::to_string(&entry).expect("JSON");
            // Hosts of different builds share the answers of one Redis.
            assert_eq!(text, written);
            assert_eq!(serde_json::from_str::<Entry>(&text).expect("an entry"), entry);
        }
    }
}
