//! Documents compared with `serde_json::Value` on random texts, reads and edits.

use proptest::{prelude::*, sample::Index};
use serde_json::{Value, json};

use super::{LONG, parse, parsing::agree, sent};

/// JSON text with any spacing, escapes and forms of numbers, and with duplicate keys if `duplicates` is true.
fn json_text(duplicates: bool) -> impl Strategy<Value = String> {
    let space = || prop_oneof![5 => Just(""), 1 => Just(" "), 1 => Just("\n\t"), 1 => Just("\r ")];
    let piece = prop_oneof![
        5 => "[ -!#-\\[\\]-~]{0,12}",
        1 => "[ -!#-\\[\\]-~]{60,90}",
        2 => prop::sample::select(vec!["\\n", "\\\"", "\\\\", "\\/", "\\u0061", "\\ud83d\\ude00", "é", "語", "😀"]).prop_map(String::from),
    ];
    let string = prop::collection::vec(piece, 0..4).prop_map(|pieces| format!("\"{}\"", pieces.concat()));
    let number =
        prop_oneof!["-?(0|[1-9][0-9]{0,20})", "-?(0|[1-9][0-9]{0,3})\\.[0-9]{1,4}([eE][+-]?[0-9]{1,2})?"];
    let scalar = prop_oneof![
        Just("null".to_owned()),
        Just("true".to_owned()),
        Just("false".to_owned()),
        number,
        string.clone()
    ];
    let key = prop_oneof![
        6 => prop::sample::select(vec!["a", "b", "\\u0061", "c", "x~y", "p/q", ""]).prop_map(|key| format!("\"{key}\"")),
        1 => string,
    ];
    let text = scalar.prop_recursive(5, 60, 8, move |value| {
        let elements = prop::collection::vec((space(), value.clone(), space()), 0..6).prop_map(|parts| {
            parts.into_iter().map(|(a, value, b)| format!("{a}{value}{b}")).collect::<Vec<_>>()
        });
        let members =
            prop::collection::vec((space(), key.clone(), space(), value), 0..20).prop_map(move |parts| {
                let mut seen = std::collections::HashSet::new();
                parts
                    .into_iter()
                    .filter(|(_, key, ..)| {
                        duplicates || seen.insert(serde_json::from_str::<String>(key).unwrap())
                    })
                    .map(|(a, key, b, value)| format!("{a}{key}{b}:{a}{value}{b}"))
                    .collect::<Vec<_>>()
            });
        prop_oneof![
            (elements, space()).prop_map(|(parts, space)| format!(
                "[{}]",
                if parts.is_empty() { space.into() } else { parts.join(",") }
            )),
            (members, space()).prop_map(|(parts, space)| format!(
                "{{{}}}",
                if parts.is_empty() { space.into() } else { parts.join(",") }
            )),
        ]
    });
    (text, prop::bool::weighted(0.3))
        .prop_map(|(text, long)| if long { format!("{}{text}", *LONG) } else { text })
}

/// Every pointer of a value, the root's first.
fn pointers(value: &Value) -> Vec<String> {
    fn walk(value: &Value, at: String, out: &mut Vec<String>) {
        out.push(at.clone());
        match value {
            Value::Array(elements) => {
                elements
                    .iter()
                    .enumerate()
                    .for_each(|(index, element)| walk(element, format!("{at}/{index}"), out));
            }
            Value::Object(members) => members.iter().for_each(|(key, member)| {
                walk(member, format!("{at}/{}", key.replace('~', "~0").replace('/', "~1")), out);
            }),
            _ => {}
        }
    }
    let mut out = Vec::new();
    walk(value, String::new(), &mut out);
    out
}

/// A value that keeps the first of duplicate keys, as some parsers do.
struct FirstWins(Value);

impl<'de> serde::Deserialize<'de> for FirstWins {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl<'de> serde::de::Visitor<'de> for Visitor {
            type Value = FirstWins;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("any value")
            }

            fn visit_unit<E>(self) -> Result<FirstWins, E> {
                Ok(FirstWins(Value::Null))
            }

            fn visit_bool<E>(self, value: bool) -> Result<FirstWins, E> {
                Ok(FirstWins(value.into()))
            }

            fn visit_u64<E>(self, value: u64) -> Result<FirstWins, E> {
                Ok(FirstWins(value.into()))
            }

            fn visit_i64<E>(self, value: i64) -> Result<FirstWins, E> {
                Ok(FirstWins(value.into()))
            }

            fn visit_f64<E>(self, value: f64) -> Result<FirstWins, E> {
                Ok(FirstWins(value.into()))
            }

            fn visit_str<E>(self, value: &str) -> Result<FirstWins, E> {
                Ok(FirstWins(value.into()))
            }

            fn visit_seq<A: serde::de::SeqAccess<'de>>(self, mut access: A) -> Result<FirstWins, A::Error> {
                let mut elements = Vec::new();
                while let Some(FirstWins(element)) = access.next_element()? {
                    elements.push(element);
                }
                Ok(FirstWins(elements.into()))
            }

            fn visit_map<A: serde::de::MapAccess<'de>>(self, mut access: A) -> Result<FirstWins, A::Error> {
                let mut members = serde_json::Map::new();
                while let Some((key, FirstWins(value))) = access.next_entry::<String, _>()? {
                    members.entry(key).or_insert(value);
                }
                Ok(FirstWins(members.into()))
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

/// Applies an edit to a `serde_json::Value`. Returns false if there is no such place.
fn edit_value(root: &mut Value, kind: u8, pointer: &str, new: Value) -> bool {
    let Some((parent, token)) = pointer.rsplit_once('/') else {
        if kind == 2 {
            return false;
        }
        *root = new;
        return true;
    };
    let token = token.replace("~1", "/").replace("~0", "~");
    match root.pointer_mut(parent) {
        Some(Value::Object(members)) if kind == 2 => members.remove(&token).is_some(),
        Some(Value::Object(members)) => {
            members.insert(token, new);
            true
        }
        Some(Value::Array(elements)) => {
            let at = if token == "-" && kind != 2 { Some(elements.len()) } else { token.parse().ok() };
            match (kind, at) {
                (0, Some(at)) if at < elements.len() => elements[at] = new,
                (0, Some(_)) if token == "-" => elements.push(new),
                (1, Some(at)) if at <= elements.len() => elements.insert(at, new),
                (2, Some(at)) if at < elements.len() => drop(elements.remove(at)),
                _ => return false,
            }
            true
        }
        _ => false,
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn parsing_agrees_with_serde_json(text in json_text(true)) {
        agree(text.as_bytes())?;
    }

    #[test]
    fn parsing_agrees_with_serde_json_on_broken_texts(
        text in json_text(true),
        changes in prop::collection::vec((any::<Index>(), 0..4u8, prop_oneof![any::<u8>(), prop::sample::select(b"\"\\{}[],:0e-.u \x1f".to_vec())]), 1..4),
    ) {
        let mut bytes = text.into_bytes();
        for (at, kind, byte) in changes {
            if bytes.is_empty() {
                break;
            }
            let at = at.index(bytes.len());
            match kind {
                0 => bytes[at] = byte,
                1 => bytes.insert(at, byte),
                2 => drop(bytes.remove(at)),
                _ => bytes.truncate(at),
            }
        }
        agree(&bytes)?;
    }

    #[test]
    fn an_untouched_text_leaves_as_it_came(text in json_text(false), reads in prop::collection::vec(any::<Index>(), 0..5)) {
        let document = parse(&text);
        let value: Value = serde_json::from_str(&text).unwrap();
        let pointers = pointers(&value);
        for read in reads {
            let pointer = read.get(&pointers);
            let read: Value = serde_json::from_str(document.get(pointer).unwrap()).unwrap();
            prop_assert_eq!(Some(&read), value.pointer(pointer));
            prop_assert_eq!(document.get_str(pointer), read.as_str());
        }
        prop_assert_eq!(sent(&document), text.as_str());
        prop_assert!(!document.is_edited());
    }

    #[test]
    fn edits_do_what_they_do_to_a_value(
        text in json_text(false),
        edits in prop::collection::vec((any::<Index>(), prop::sample::select(vec!["", "/-", "/0", "/a", "/new~1"]), 0..3u8, json_text(false), any::<Option<Index>>()), 1..8),
    ) {
        let mut document = parse(&text);
        let mut value: Value = serde_json::from_str(&text).unwrap();
        for (place, suffix, kind, json, read) in edits {
            let pointer = place.get(&pointers(&value)).clone() + suffix;
            let new = serde_json::from_str(&json).unwrap();
            let before = document.clone();
            let before_text = sent(&before);
            let answer = match kind {
                0 => document.set(&pointer, &json),
                1 => document.insert(&pointer, &json),
                _ => document.remove(&pointer),
            };
            let expect = edit_value(&mut value, kind, &pointer, new);
            prop_assert_eq!(answer.is_ok(), expect, "{} {}", kind, pointer);
            prop_assert_eq!(sent(&before), before_text);
            let after = sent(&document);
            prop_assert!(document.size() >= after.len());
            prop_assert_eq!(&serde_json::from_str::<Value>(&after).unwrap(), &value);
            if let Some(read) = read {
                let pointers = pointers(&value);
                let pointer = read.get(&pointers);
                let read: Value = serde_json::from_str(document.get(pointer).unwrap()).unwrap();
                prop_assert_eq!(Some(&read), value.pointer(pointer));
            }
        }
    }

    #[test]
    fn what_was_read_is_what_is_sent(
        text in json_text(true),
        reads in prop::collection::vec((any::<Index>(), any::<bool>()), 1..5),
    ) {
        let mut document = parse(&text);
        let mut value: Value = serde_json::from_str(&text).unwrap();
        let mut promised = Vec::new();
        for (read, edit) in reads {
            let pointers = pointers(&value);
            let pointer = read.get(&pointers);
            let read: Value = serde_json::from_str(document.get(pointer).unwrap()).unwrap();
            prop_assert_eq!(Some(&read), value.pointer(pointer));
            promised.push((pointer.clone(), read));
            if edit && value.is_object() {
                document.set("/brand new", "1").unwrap();
                value["brand new"] = json!(1);
            }
            let bytes = document.to_bytes();
            prop_assert!(document.size() >= bytes.len());
            prop_assert_eq!(document.is_edited(), bytes != text.as_bytes());
            let last: Value = serde_json::from_slice(&bytes).unwrap();
            let FirstWins(first) = serde_json::from_slice(&bytes).unwrap();
            for (pointer, read) in &promised {
                let mut read = read.clone();
                if pointer.is_empty() && let Some(new) = last.get("brand new") {
                    read["brand new"] = new.clone();
                }
                prop_assert_eq!(last.pointer(pointer), Some(&read), "{}", pointer);
                prop_assert_eq!(first.pointer(pointer), Some(&read), "{}", pointer);
            }
        }
    }
}
