//! JSON without its fractions: the members, the texts and the lengths that decide whether an answer is complete.
//!
//! `complete` reads an answer in this form. Texts without an escape stay in the JSON text. If an object has a name twice, the
//! last one counts, as for the clients.

use std::{borrow::Cow, fmt, ops};

use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, SeqAccess, Visitor},
};

/// A value.
#[derive(Debug, PartialEq)]
pub(crate) enum Shape<'t> {
    Null,
    /// A boolean, or a number that is no index.
    Scalar,
    Index(u64),
    Text(Cow<'t, str>),
    List(Vec<Shape<'t>>),
    Object(Vec<(Cow<'t, str>, Shape<'t>)>),
}

impl<'t> Shape<'t> {
    /// Reads a JSON text; `None` if it is none.
    pub(crate) fn of(json: &'t str) -> Option<Self> {
        serde_json::from_str(json).ok()
    }

    pub(crate) fn as_str(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
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
            Self::Text(text) => !text.is_empty(),
            Self::List(elements) => !elements.is_empty(),
            Self::Object(members) => !members.is_empty(),
        }
    }
}

impl<'t> ops::Index<&str> for Shape<'t> {
    type Output = Self;

    /// Returns the member of this name, or `null`.
    fn index(&self, name: &str) -> &Self {
        self.members().iter().rfind(|(member, _)| member == name).map_or(&Shape::Null, |(_, value)| value)
    }
}

impl<'de> Deserialize<'de> for Shape<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(AnyShape)
    }
}

/// The name of a member, borrowed if it has no escape.
#[derive(Deserialize)]
struct Name<'t>(#[serde(borrow)] Cow<'t, str>);

struct AnyShape;

impl<'de> Visitor<'de> for AnyShape {
    type Value = Shape<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(Shape::Null)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Self::Value, E> {
        Ok(Shape::Scalar)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Self::Value, E> {
        Ok(Shape::Scalar)
    }

    fn visit_u64<E>(self, index: u64) -> Result<Self::Value, E> {
        Ok(Shape::Index(index))
    }

    fn visit_f64<E>(self, _: f64) -> Result<Self::Value, E> {
        Ok(Shape::Scalar)
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
        Ok(Shape::Text(Cow::Borrowed(text)))
    }

    fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
        Ok(Shape::Text(Cow::Owned(text.to_owned())))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
        let mut elements = Vec::new();
        while let Some(element) = list.next_element()? {
            elements.push(element);
        }
        Ok(Shape::List(elements))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut members = Vec::new();
        while let Some((Name(name), value)) = map.next_entry()? {
            members.push((name, value));
        }
        Ok(Shape::Object(members))
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
        assert_eq!(texts, [Some("second"), Some("é"), Some("x\"y")]);
        let [Shape::Index(1), others @ .., Shape::Null] = shape["b"].elements() else { panic!("{shape:?}") };
        assert_eq!(others, [Shape::Scalar, Shape::Scalar, Shape::Scalar]);
        assert_eq!(shape["absent"]["below"], Shape::Null);
        let says = ["a", "b", "c", "absent"].map(|name| shape[name].says_something());
        assert_eq!(says, [true, true, false, false]);
        assert!(matches!(&shape["d"], Shape::Text(Cow::Borrowed(_))));
        assert_eq!(Shape::of("{"), None);
    }
}
