//! Documents against `serde_json::Value`: the same texts are accepted, the same values are read, and the same edits have
//! the same result.
//!
//! The input is a JSON text and edits. A zero byte, which no JSON text has, ends each part:
//! `text 0 kind pointer 0 value 0 kind pointer 0 value …`. The kind is one byte.

#![no_main]

use std::{collections::HashSet, fmt};

use libfuzzer_sys::fuzz_target;
use llmux_core::Document;
use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, SeqAccess, Visitor},
};
use serde_json::Value;

fuzz_target!(|bytes: &[u8]| {
    let mut parts = bytes.split(|byte| *byte == 0);
    let text = parts.next().unwrap_or_default();
    let (mut document, mut value) = match (Document::parse(text.to_vec()), serde_json::from_slice(text)) {
        (Ok(document), Ok(value)) => (document, value),
        (Err(_), Err(_)) => return,
        (ours, theirs) => panic!("ours {ours:?}, theirs {theirs:?}"),
    };
    // A document that was read has no key twice, at any depth: the last one counts. One that was not read may have lost
    // some.
    let has_repeated = |text: &[u8]| serde_json::from_slice::<Keys>(text).expect("JSON").repeated;
    let sent = document.to_bytes();
    match has_repeated(text) {
        true => assert_eq!(serde_json::from_slice::<Value>(&sent).expect("JSON"), value),
        false => assert_eq!(&sent[..], text, "an untouched document is sent as it came"),
    }
    read_everything(&document, &value);
    assert!(!has_repeated(&document.to_bytes()));
    while let (Some(edit), Some(json)) = (parts.next(), parts.next()) {
        let (Some((kind, pointer)), Ok(json)) = (edit.split_first(), str::from_utf8(json)) else { return };
        let Ok(pointer) = str::from_utf8(pointer) else { return };
        let before = document.clone();
        let before_bytes = before.to_bytes();
        let kind = Kind::from(*kind);
        let result = match kind {
            Kind::Set => document.set(pointer, json),
            Kind::Insert => document.insert(pointer, json),
            Kind::Remove => document.remove(pointer),
        };
        let new = serde_json::from_str::<Value>(json).ok();
        let expected = match (kind, new) {
            (Kind::Remove, _) => edit_value(&mut value, kind, pointer, Value::Null),
            (_, Some(new)) => edit_value(&mut value, kind, pointer, new),
            (_, None) => false,
        };
        assert_eq!(result.is_ok(), expected, "{kind:?} {pointer:?} {json:?}: {result:?}");
        assert_eq!(before.to_bytes(), before_bytes, "an edit leaves the copy alone");
        let sent = document.to_bytes();
        assert!(document.size() >= sent.len(), "the size is never too small");
        // The limit of the depth holds for what is read again, and an edit may exceed it.
        if let Ok(again) = serde_json::from_slice::<Value>(&sent) {
            assert_eq!(again, value, "{kind:?} {pointer:?} {json:?}");
        }
        read_everything(&document, &value);
    }
});

/// The keys of a text, at every depth.
#[derive(Default)]
struct Keys {
    /// True if an object has a key twice.
    repeated: bool,
}

impl<'de> Deserialize<'de> for Keys {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Keys::default())
    }
}

impl<'de> Visitor<'de> for Keys {
    type Value = Self;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_str<E>(self, _: &str) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut elements: A) -> Result<Self, A::Error> {
        while let Some(Keys { repeated }) = elements.next_element()? {
            self.repeated |= repeated;
        }
        Ok(self)
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut members: A) -> Result<Self, A::Error> {
        let mut seen = HashSet::new();
        while let Some((key, Keys { repeated })) = members.next_entry::<String, _>()? {
            self.repeated |= repeated | !seen.insert(key);
        }
        Ok(self)
    }
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    Set,
    Insert,
    Remove,
}

impl From<u8> for Kind {
    fn from(byte: u8) -> Self {
        [Self::Set, Self::Insert, Self::Remove][usize::from(byte % 3)]
    }
}

/// Checks that a document and a value agree at every place, up to a bound on the number of places.
fn read_everything(document: &Document, value: &Value) {
    let mut waiting = vec![(String::new(), value)];
    let mut left = 64;
    while let Some((pointer, value)) = waiting.pop() {
        left -= 1;
        if left == 0 {
            return;
        }
        let read = document.get(&pointer).unwrap_or_else(|| panic!("nothing at {pointer:?}"));
        if let Ok(read) = serde_json::from_str::<Value>(read) {
            assert_eq!(&read, value, "{pointer:?}");
        }
        assert_eq!(document.get_str(&pointer).as_deref(), value.as_str(), "{pointer:?}");
        match value {
            Value::Array(elements) => {
                assert_eq!(document.len(&pointer), Some(elements.len()), "{pointer:?}");
                let places = elements.iter().enumerate();
                waiting.extend(places.map(|(at, element)| (format!("{pointer}/{at}"), element)));
            }
            Value::Object(members) => {
                assert_eq!(document.len(&pointer), Some(members.len()), "{pointer:?}");
                waiting.extend(members.iter().map(|(key, member)| {
                    (format!("{pointer}/{}", key.replace('~', "~0").replace('/', "~1")), member)
                }));
            }
            _ => {}
        }
    }
}

/// Applies an edit to a value. Returns false if the place does not exist.
fn edit_value(root: &mut Value, kind: Kind, pointer: &str, new: Value) -> bool {
    if pointer.is_empty() {
        if kind != Kind::Remove {
            *root = new;
        }
        return kind != Kind::Remove;
    }
    // RFC 6901: `~` stands only before `0` or `1`.
    if pointer.split('~').skip(1).any(|after| !after.starts_with(['0', '1'])) {
        return false;
    }
    let Some((parent, token)) = pointer.rsplit_once('/') else { return false };
    let token = token.replace("~1", "/").replace("~0", "~");
    match root.pointer_mut(parent) {
        Some(Value::Object(members)) if kind == Kind::Remove => members.remove(&token).is_some(),
        Some(Value::Object(members)) => {
            members.insert(token, new);
            true
        }
        Some(Value::Array(elements)) => {
            let at = match &*token {
                "-" if kind != Kind::Remove => elements.len(),
                // RFC 6901: digits without a leading zero.
                _ if token.starts_with('+') || (token.starts_with('0') && token.len() > 1) => return false,
                _ => match token.parse() {
                    Ok(at) => at,
                    Err(_) => return false,
                },
            };
            match kind {
                Kind::Set if at < elements.len() => elements[at] = new,
                Kind::Set if token == "-" => elements.push(new),
                Kind::Insert if at <= elements.len() => elements.insert(at, new),
                Kind::Remove if at < elements.len() => drop(elements.remove(at)),
                _ => return false,
            }
            true
        }
        _ => false,
    }
}
