//! A walk over every string of a JSON text.
//!
//! Used by documents. The walk keeps one pointer, which grows and shrinks: a list of all pointers could be far larger than
//! the text, since each repeats the names of all objects around its string.

use std::fmt::{self, Write};

use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};

/// Calls `visit` with the pointer and the content of every string of a JSON text, in the order of the text. Names of
/// members are not visited.
pub(super) fn for_each_string(json: &str, visit: &mut dyn FnMut(&str, &str)) -> serde_json::Result<()> {
    let mut text = serde_json::Deserializer::from_str(json);
    (&mut Walk { pointer: String::new(), visit }).deserialize(&mut text)?;
    text.end()
}

struct Walk<'v> {
    pointer: String,
    visit: &'v mut dyn FnMut(&str, &str),
}

impl<'de> DeserializeSeed<'de> for &mut Walk<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, value: D) -> Result<(), D::Error> {
        value.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for &mut Walk<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_str<E>(self, text: &str) -> Result<(), E> {
        (self.visit)(&self.pointer, text);
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<(), A::Error> {
        let parent = self.pointer.len();
        for at in 0_usize.. {
            // Writing to a string does not fail.
            let _ = write!(self.pointer, "/{at}");
            let element = elements.next_element_seed(&mut *self)?;
            self.pointer.truncate(parent);
            if element.is_none() {
                break;
            }
        }
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<(), A::Error> {
        let parent = self.pointer.len();
        while members.next_key_seed(Name(&mut self.pointer))?.is_some() {
            members.next_value_seed(&mut *self)?;
            self.pointer.truncate(parent);
        }
        Ok(())
    }
}

/// Appends the name of a member to a pointer.
struct Name<'p>(&'p mut String);

impl<'de> DeserializeSeed<'de> for Name<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, name: D) -> Result<(), D::Error> {
        name.deserialize_str(self)
    }
}

impl Visitor<'_> for Name<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the name of a member")
    }

    fn visit_str<E>(self, name: &str) -> Result<(), E> {
        self.0.push('/');
        for character in name.chars() {
            match character {
                '~' => self.0.push_str("~0"),
                '/' => self.0.push_str("~1"),
                character => self.0.push(character),
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::for_each_string;

    fn strings(json: &str) -> Vec<(String, String)> {
        let mut found = Vec::new();
        for_each_string(json, &mut |pointer, text| found.push((pointer.to_owned(), text.to_owned())))
            .expect("JSON");
        found
    }

    #[test]
    fn every_string_has_its_pointer_and_no_name_is_a_string() {
        let json = r#"{"a/b~": ["x", 1, {"": "\u0079"}, null, true, -1, 2.5e3, []], "c": "z"}"#;
        let found = strings(json);
        let found: Vec<_> = found.iter().map(|(pointer, text)| (pointer.as_str(), text.as_str())).collect();
        assert_eq!(found, [("/a~1b~0/0", "x"), ("/a~1b~0/2/", "y"), ("/c", "z")]);
        assert_eq!(strings("\"whole\""), [(String::new(), "whole".to_owned())]);
    }

    #[test]
    fn broken_text_and_too_deep_text_are_errors() {
        for json in ["{", "[\"a\" \"b\"]", "1 2", "", &"[".repeat(1_000_000)] {
            assert!(for_each_string(json, &mut |_, _| {}).is_err(), "{}", &json[..json.len().min(20)]);
        }
    }

    /// One list of all pointers would need 6.5 GB.
    #[test]
    fn long_names_around_many_strings_need_one_pointer() {
        let json = format!(r#"{{"{}": [{}""]}}"#, "k".repeat(65_536), "\"\",".repeat(99_999));
        let mut longest = 0;
        let mut count = 0;
        for_each_string(&json, &mut |pointer, _| {
            count += 1;
            longest = longest.max(pointer.len());
        })
        .expect("JSON");
        assert_eq!((count, longest), (100_000, 65_536 + "//99999".len()));
    }
}
