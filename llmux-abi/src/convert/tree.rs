//! JSON trees that keep each number as it was written.
//!
//! The conversions of this folder work on them. `serde_json::Value` would round an integer of more than 64 bits.
//! Deliberately absent: the order of members, which has no meaning in JSON.

use std::{
    collections::BTreeMap,
    ops::{Index, IndexMut},
};

use serde::de::Error;
use serde_json::{Value, value::RawValue};

/// Nesting of the deepest text that is read, which is also the limit of `serde_json`.
const MAX_DEPTH: usize = 128;

static NULL: Tree = Tree::Null;

/// The members of an object.
pub(super) type Members = BTreeMap<String, Tree>;

/// A JSON value.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) enum Tree {
    #[default]
    Null,
    Bool(bool),
    /// A number, as it is written.
    Number(String),
    Text(String),
    List(Vec<Tree>),
    Object(Members),
}

impl Tree {
    /// Reads JSON text.
    pub(super) fn parse(text: &str) -> serde_json::Result<Self> {
        let checked: &RawValue = serde_json::from_str(text)?;
        Reader { rest: checked.get() }.value(MAX_DEPTH)
    }

    /// Writes this value as JSON text.
    pub(super) fn write(&self, out: &mut String) {
        match self {
            Tree::Null => out.push_str("null"),
            Tree::Bool(value) => out.push_str(if *value { "true" } else { "false" }),
            Tree::Number(number) => out.push_str(number),
            Tree::Text(text) => write_text(text, out),
            Tree::List(elements) => {
                for (at, element) in elements.iter().enumerate() {
                    out.push(if at == 0 { '[' } else { ',' });
                    element.write(out);
                }
                out.push_str(if elements.is_empty() { "[]" } else { "]" });
            }
            Tree::Object(members) => {
                for (at, (name, value)) in members.iter().enumerate() {
                    out.push(if at == 0 { '{' } else { ',' });
                    write_text(name, out);
                    out.push(':');
                    value.write(out);
                }
                out.push_str(if members.is_empty() { "{}" } else { "}" });
            }
        }
    }

    /// Returns this value as JSON text.
    pub(super) fn to_text(&self) -> String {
        let mut text = String::new();
        self.write(&mut text);
        text
    }

    /// Returns this value as `serde_json` has it. A number beyond 64 bits is rounded.
    pub(super) fn to_value(&self) -> Value {
        match self {
            Tree::Null => Value::Null,
            Tree::Bool(value) => (*value).into(),
            // A number too large for a float has no other form there.
            Tree::Number(number) => serde_json::from_str(number).unwrap_or_default(),
            Tree::Text(text) => text.as_str().into(),
            Tree::List(elements) => elements.iter().map(Tree::to_value).collect(),
            Tree::Object(members) => {
                members.iter().map(|(name, value)| (name.clone(), value.to_value())).collect()
            }
        }
    }

    pub(super) fn is_null(&self) -> bool {
        *self == Tree::Null
    }

    /// Returns true for `null` and for an empty text: a provider that has nothing to say sends either.
    pub(super) fn is_blank(&self) -> bool {
        self.is_null() || self.as_str() == Some("")
    }

    pub(super) fn as_str(&self) -> Option<&str> {
        match self {
            Tree::Text(text) => Some(text),
            _ => None,
        }
    }

    pub(super) fn as_index(&self) -> Option<u64> {
        match self {
            Tree::Number(number) => number.parse().ok(),
            _ => None,
        }
    }

    /// Returns the elements of a list; none for another kind.
    pub(super) fn elements(&self) -> &[Tree] {
        match self {
            Tree::List(elements) => elements,
            _ => &[],
        }
    }

    /// Returns the members of an object; none for another kind.
    pub(super) fn members(&self) -> impl Iterator<Item = (&str, &Tree)> {
        self.as_object().into_iter().flatten().map(|(name, value)| (name.as_str(), value))
    }

    pub(super) fn as_object(&self) -> Option<&Members> {
        match self {
            Tree::Object(members) => Some(members),
            _ => None,
        }
    }

    pub(super) fn as_object_mut(&mut self) -> Option<&mut Members> {
        match self {
            Tree::Object(members) => Some(members),
            _ => None,
        }
    }

    /// Returns this object with another member.
    pub(super) fn with(mut self, name: &str, value: impl Into<Tree>) -> Self {
        self[name] = value.into();
        self
    }

    /// Sets a member that is there; does nothing if it is absent.
    pub(super) fn reset(&mut self, name: &str, value: impl Into<Tree>) {
        if let Some(there) = self.as_object_mut().and_then(|members| members.get_mut(name)) {
            *there = value.into();
        }
    }
}

/// Reads a text that is known to be JSON, in one pass.
struct Reader<'a> {
    rest: &'a str,
}

impl<'a> Reader<'a> {
    fn value(&mut self, depth: usize) -> serde_json::Result<Tree> {
        let below = || depth.checked_sub(1).ok_or_else(|| Error::custom("recursion limit exceeded"));
        Ok(match self.peek() {
            b'{' => {
                let depth = below()?;
                let mut members = Members::new();
                while self.next_in(b'}') {
                    let name = self.string()?;
                    self.peek();
                    self.skip(1);
                    members.insert(name, self.value(depth)?);
                }
                Tree::Object(members)
            }
            b'[' => {
                let depth = below()?;
                let mut elements = Vec::new();
                while self.next_in(b']') {
                    elements.push(self.value(depth)?);
                }
                Tree::List(elements)
            }
            b'"' => Tree::Text(self.string()?),
            first => {
                let end = self.rest.find(|end: char| matches!(end, ',' | ']' | '}') || end.is_whitespace());
                let word = self.skip(end.unwrap_or(self.rest.len()));
                match first {
                    b'n' => Tree::Null,
                    b't' | b'f' => Tree::Bool(first == b't'),
                    _ => Tree::Number(word.to_owned()),
                }
            }
        })
    }

    /// Skips white space. Returns the byte after it.
    fn peek(&mut self) -> u8 {
        self.rest = self.rest.trim_ascii_start();
        self.rest.bytes().next().unwrap_or_default()
    }

    /// Takes this number of bytes.
    fn skip(&mut self, bytes: usize) -> &'a str {
        let (taken, rest) = self.rest.split_at(bytes.min(self.rest.len()));
        self.rest = rest;
        taken
    }

    /// Takes the bracket or comma before an element. At the end of the list, takes that and returns false.
    fn next_in(&mut self, end: u8) -> bool {
        if self.peek() == end {
            self.skip(1);
            return false;
        }
        self.skip(1);
        // The list is empty if its end follows its beginning.
        let is_empty = self.peek() == end;
        if is_empty {
            self.skip(1);
        }
        !is_empty
    }

    fn string(&mut self) -> serde_json::Result<String> {
        self.peek();
        let mut is_escaped = false;
        let end = self.rest.bytes().skip(1).position(|byte| {
            let is_end = byte == b'"' && !is_escaped;
            is_escaped = byte == b'\\' && !is_escaped;
            is_end
        });
        let text = self.skip(end.map_or(self.rest.len(), |end| end + 2));
        serde_json::from_str(text)
    }
}

/// Writes a text as a JSON string.
fn write_text(text: &str, out: &mut String) {
    // A text always has a JSON form.
    out.push_str(&serde_json::to_string(text).unwrap_or_default());
}

/// Makes an object of these members.
pub(super) fn object<const N: usize>(members: [(&str, Tree); N]) -> Tree {
    Tree::Object(members.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
}

/// A member of an object; `null` where there is none.
impl Index<&str> for Tree {
    type Output = Tree;

    fn index(&self, name: &str) -> &Tree {
        self.as_object().and_then(|members| members.get(name)).unwrap_or(&NULL)
    }
}

/// A member of an object, which is made if it is absent. Another kind of value becomes an object.
impl IndexMut<&str> for Tree {
    fn index_mut(&mut self, name: &str) -> &mut Tree {
        if self.as_object().is_none() {
            *self = Tree::Object(Members::new());
        }
        match self {
            Tree::Object(members) => members.entry(name.to_owned()).or_default(),
            _ => unreachable!("it is an object"),
        }
    }
}

impl From<&Value> for Tree {
    fn from(value: &Value) -> Self {
        match value {
            Value::Null => Tree::Null,
            Value::Bool(value) => Tree::Bool(*value),
            Value::Number(number) => Tree::Number(number.to_string()),
            Value::String(text) => Tree::Text(text.clone()),
            Value::Array(elements) => Tree::List(elements.iter().map(Tree::from).collect()),
            Value::Object(members) => {
                Tree::Object(members.iter().map(|(name, value)| (name.clone(), value.into())).collect())
            }
        }
    }
}

impl From<&Tree> for Tree {
    fn from(tree: &Tree) -> Self {
        tree.clone()
    }
}

impl From<&str> for Tree {
    fn from(text: &str) -> Self {
        Tree::Text(text.to_owned())
    }
}

impl From<usize> for Tree {
    fn from(number: usize) -> Self {
        Tree::Number(number.to_string())
    }
}

impl From<Vec<Tree>> for Tree {
    fn from(elements: Vec<Tree>) -> Self {
        Tree::List(elements)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_texts_survive_being_read_and_written() {
        for text in [
            "123456789012345678901234567890",
            "-0.10",
            "1E400",
            r#"{"":[],"a":{},"b":[1.0,{"c":null}],"d":true,"e":false}"#,
            r#""\"\\\n\r\t\u0001é😀""#,
        ] {
            assert_eq!(Tree::parse(text).expect("JSON").to_text(), text);
        }
        assert_eq!(Tree::parse(r#" {"a" : "\u0041\/"} "#).expect("JSON").to_text(), r#"{"a":"A/"}"#);
    }

    #[test]
    fn spaces_and_repeated_members_are_read() {
        let text = " { \"a\" : [ ] , \"b\" :\t{ }\n, \"a\" : [ 1 , -2e3,true ,null] } ";
        assert_eq!(Tree::parse(text).expect("JSON").to_text(), r#"{"a":[1,-2e3,true,null],"b":{}}"#);
    }

    #[test]
    fn a_text_that_is_no_json_or_too_deep_is_refused() {
        for text in ["", "{", "[1,]", "NaN", "{\"a\":01}", r#""\ud800""#, "1 2", r#"{"a":[tru]}"#] {
            assert!(Tree::parse(text).is_err(), "{text}");
        }
        let nested = |depth: usize| "[".repeat(depth) + &"]".repeat(depth);
        assert!(Tree::parse(&nested(MAX_DEPTH)).is_ok());
        assert!(Tree::parse(&nested(MAX_DEPTH + 1)).is_err());
        assert!(Tree::parse(&nested(1_000_000)).is_err());
    }

    #[test]
    fn a_value_has_an_equal_tree() {
        let text = r#"{"a":[1,-2,3.5,18446744073709551615,1e300],"b":"x","c":null,"d":{"e":true}}"#;
        let value: Value = serde_json::from_str(text).expect("JSON");
        assert_eq!(Tree::from(&value).to_value(), value);
        assert_eq!(Tree::parse(text).expect("JSON").to_value(), value);
    }
}
