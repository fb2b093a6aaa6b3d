//! JSON without its fractions: the members, the texts and the lengths that decide whether an answer is complete.
//!
//! `complete` reads an answer in this form. Nothing of the JSON text is copied, and a text is unescaped when it is compared. If an
//! object has a name twice, the last one counts, as for the clients. The text comes from the host, which has checked that it is
//! JSON.

use std::{borrow::Cow, ops};

use crate::json::{Json, MAX_DEPTH, Quoted};

/// A value.
#[derive(Debug, PartialEq)]
pub(crate) enum Shape<'t> {
    Null,
    /// A boolean, or a number that is no index.
    Scalar,
    Index(u64),
    Text(Text<'t>),
    List(Vec<Shape<'t>>),
    /// The names are without escapes.
    Object(Vec<(Cow<'t, str>, Shape<'t>)>),
}

/// A text as it is written between its quotes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Text<'t> {
    raw: &'t str,
    is_escaped: bool,
}

impl<'t> Text<'t> {
    /// Returns the string that starts at `start`.
    fn of(text: &'t str, start: usize, Quoted { end, is_escaped }: Quoted) -> Self {
        Self { raw: &text[start + 1..end - 1], is_escaped }
    }

    /// Returns the text without escapes.
    pub(crate) fn content(self) -> Cow<'t, str> {
        match self.is_escaped {
            false => Cow::Borrowed(self.raw),
            true => Cow::Owned(serde_json::from_str(&format!("\"{}\"", self.raw)).unwrap_or_default()),
        }
    }
}

impl<'t> Shape<'t> {
    /// Reads a JSON text; `None` if it is none.
    pub(crate) fn of(text: &'t str) -> Option<Self> {
        let json = Json(text.as_bytes());
        let (shape, end) = Self::value(text, json.space(0), 0)?;
        (json.space(end) == text.len()).then_some(shape)
    }

    /// Reads the value at a position, inside of `depth` lists and objects. Returns its end, too.
    fn value(text: &'t str, at: usize, depth: usize) -> Option<(Self, usize)> {
        let json = Json(text.as_bytes());
        Some(match json.byte(at)? {
            b'"' => {
                let quoted = json.string(at)?;
                (Self::Text(Text::of(text, at, quoted)), quoted.end)
            }
            b'{' | b'[' if depth == MAX_DEPTH => return None,
            b'{' => {
                let mut members = Vec::with_capacity(8);
                let end = parts(json, at, b'}', |at| {
                    let (name, colon) = json.name(at)?;
                    let (value, next) = Self::value(text, json.space(colon + 1), depth + 1)?;
                    members.push((Text::of(text, at, name).content(), value));
                    Some(next)
                })?;
                (Self::Object(members), end)
            }
            b'[' => {
                let mut elements = Vec::new();
                let end = parts(json, at, b']', |at| {
                    let (element, next) = Self::value(text, at, depth + 1)?;
                    elements.push(element);
                    Some(next)
                })?;
                (Self::List(elements), end)
            }
            _ => {
                let end = json.scalar(at)?;
                let scalar = match &text[at..end] {
                    "null" => Self::Null,
                    number => number.parse().map_or(Self::Scalar, Self::Index),
                };
                (scalar, end)
            }
        })
    }

    pub(crate) fn as_str(&self) -> Option<Cow<'t, str>> {
        match self {
            Self::Text(text) => Some(text.content()),
            _ => None,
        }
    }

    /// Returns the elements of a list; none for another value.
    pub(crate) fn elements(&self) -> &[Shape<'t>] {
        match self {
            Self::List(elements) => elements,
            _ => &[],
        }
    }

    /// Returns the members of an object; none for another value.
    pub(crate) fn members(&self) -> &[(Cow<'t, str>, Shape<'t>)] {
        match self {
            Self::Object(members) => members,
            _ => &[],
        }
    }

    /// Returns true for a value that is neither `null` nor an empty text, list or object.
    pub(crate) fn says_something(&self) -> bool {
        match self {
            Self::Null => false,
            Self::Scalar | Self::Index(_) => true,
            Self::Text(text) => !text.raw.is_empty(),
            Self::List(elements) => !elements.is_empty(),
            Self::Object(members) => !members.is_empty(),
        }
    }
}

impl<'t> ops::Index<&str> for Shape<'t> {
    type Output = Self;

    /// Returns the member of this name, or `null`.
    fn index(&self, name: &str) -> &Self {
        let member = self.members().iter().rfind(|(member, _)| member == name);
        member.map_or(&Shape::Null, |(_, value)| value)
    }
}

/// Reads the parts of the list or object that starts at `start`, each from its position to its end. Returns the end of the whole.
#[inline]
fn parts(
    json: Json<'_>,
    start: usize,
    close: u8,
    mut part: impl FnMut(usize) -> Option<usize>,
) -> Option<usize> {
    let mut at = json.space(start + 1);
    if json.byte(at)? == close {
        return Some(at + 1);
    }
    loop {
        at = json.space(part(at)?);
        match json.byte(at)? {
            b',' => at = json.space(at + 1),
            byte if byte == close => return Some(at + 1),
            _ => return None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_texts_and_lengths_are_read() {
        let json = r#"{"a":"first","e":"x\"y","b":[1,-1,0.5,true,null],"c":{},"\u0064":"é","a":"second"}"#;
        let shape = Shape::of(json).expect("JSON");
        let texts = ["a", "d", "e"].map(|name| shape[name].as_str());
        assert_eq!(texts.each_ref().map(Option::as_deref), [Some("second"), Some("é"), Some("x\"y")]);
        let [Shape::Index(1), others @ .., Shape::Null] = shape["b"].elements() else { panic!("{shape:?}") };
        assert_eq!(others, [Shape::Scalar, Shape::Scalar, Shape::Scalar]);
        assert_eq!(shape["absent"]["below"], Shape::Null);
        let says = ["a", "b", "c", "absent"].map(|name| shape[name].says_something());
        assert_eq!(says, [true, true, false, false]);
        for none in ["", "{", "[1", "{\"a\"}", "{\"a\":}", "{\"a\":1}}", "\"\\", "{1:2}", "[1 2]", "no JSON"]
        {
            assert_eq!(Shape::of(none), None, "{none}");
        }
        assert_eq!(Shape::of(&"[".repeat(100_000)), None);
    }
}
