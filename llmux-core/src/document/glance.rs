//! Glancing: what a text says at a few places, found by the very scan that checks it. For a text that is read
//! there once and then most likely only sent on, as an error is; `Document::glance` calls it.
//!
//! It agrees with opening: keys are compared unescaped, and of members with the same key the last one counts.
//! It takes nothing apart and keeps nothing. Places in arrays cannot be named.

use super::{
    duplicates,
    scan::{self, MAX_DEPTH, Quoted, Refused, Visitor},
};

/// The JSON text of each place, which is named by the keys on the way to it. The whole text is checked.
pub(super) fn glance<'t, const N: usize>(
    text: &'t str,
    places: [&[&str]; N],
) -> Result<[Option<&'t str>; N], Refused> {
    let bytes = text.as_bytes();
    let start = scan::space(bytes, 0);
    let sought = places.map(|keys| Sought { keys, matched: 0, found: None });
    let mut glance = Glance { text: bytes, depth: 0, sought };
    let end = scan::value(bytes, start, MAX_DEPTH, &mut glance)?;
    scan::end_of_text(bytes, end)?;
    let is_object = bytes.get(start) == Some(&b'{');
    Ok(glance.sought.map(|sought| {
        let from = sought.found.filter(|_| is_object)?;
        let end = scan::value(bytes, from, MAX_DEPTH, &mut ()).ok()?;
        text.get(from..end)
    }))
}

struct Glance<'a, const N: usize> {
    text: &'a [u8],
    /// How many objects are open.
    depth: usize,
    sought: [Sought<'a>; N],
}

struct Sought<'a> {
    keys: &'a [&'a str],
    /// How many of the open objects, from the outermost, lie on the way.
    matched: usize,
    /// Where the value starts.
    found: Option<usize>,
}

impl<const N: usize> Visitor for Glance<'_, N> {
    fn object_starts(&mut self) {
        self.depth += 1;
    }

    fn key(&mut self, key: Quoted) {
        let above = self.depth - 1;
        for sought in &mut self.sought {
            if sought.matched < above {
                continue;
            }
            sought.matched = above;
            let Some(name) = sought.keys.get(above) else { continue };
            let content = &self.text[key.start + 1..key.end - 1];
            let is_it = match key.escaped {
                false => content == name.as_bytes(),
                true => *duplicates::unescape(&self.text[key.start..key.end], true) == *name.as_bytes(),
            };
            if !is_it {
                continue;
            }
            // The scan has not come here yet; where there is no colon, it will say so.
            let value = scan::space(self.text, scan::space(self.text, key.end) + 1);
            let is_last = self.depth == sought.keys.len();
            sought.found = is_last.then_some(value);
            if !is_last && self.text.get(value) == Some(&b'{') {
                sought.matched = self.depth;
            }
        }
    }

    fn object_ends(&mut self) {
        self.depth -= 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::document::Document;

    #[test]
    fn a_glance_sees_what_opening_sees() {
        for text in [
            r#"{"a": 1, "b": {"c": "x", "d": [1]}}"#,
            r#" {"b":{"c":1},"a":{"c":2}} "#,
            r#"{"a":1,"a":2,"b":{"c":1,"c":2}}"#,
            r#"{"b":{"c":1},"b":{}}"#,
            r#"{"b":{"c":1},"b":3}"#,
            r#"{"b":[{"c":1}]}"#,
            r#"{"b":{"x":{"c":1}}}"#,
            r#"{"x":{"c":1,"a":2},"b":{"x":{"a":1},"c":[{"c":5}]}}"#,
            r#"[{"a":1,"b":{"c":1}}]"#,
            r#"{"\u0061":1,"b":{"\u0063":"\"q\\"}}"#,
            r#"{"a":1,"\u0061":2}"#,
            "{}",
            "null",
            r#""a""#,
        ] {
            let seen = glance(text, [&["a"], &["b", "c"]]).expect(text);
            let document = Document::parse(text).expect(text);
            assert_eq!(seen, [document.get("/a"), document.get("/b/c")], "{text}");
        }
    }

    #[test]
    fn a_glance_refuses_what_the_door_refuses() {
        for text in ["", "{", r#"{"a"}"#, r#"{"a":}"#, r#"{"a":1}x"#, r#"{"a":01}"#, r#"{"b":{"c":"}}"#] {
            assert!(Document::parse(text).is_err() && glance(text, [&["a"], &["b", "c"]]).is_err(), "{text}");
        }
    }
}
