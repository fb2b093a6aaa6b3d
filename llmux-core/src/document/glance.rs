//! Glancing: what a text says at a few places, found while it is checked. For a text that is read there once and
//! then most likely only sent on, as an error is; `Document::glance` calls it.
//!
//! It agrees with opening: keys are compared unescaped, and of members with the same key the last one counts.
//! It takes nothing apart and keeps nothing. Places in arrays cannot be named.

use super::{
    duplicates,
    scan::{self, MAX_DEPTH, Quoted, Refused},
};

/// The JSON text of each place, which is named by the keys on the way to it. The whole text is checked.
pub(super) fn glance<'t, const N: usize>(
    text: &'t str,
    places: [&[&str]; N],
) -> Result<[Option<&'t str>; N], Refused> {
    let bytes = text.as_bytes();
    let mut sought = places.map(|keys| Sought { keys, matched: 0, found: None });
    let start = scan::space(bytes, 0);
    let end = value(bytes, start, 0, &mut sought)?;
    scan::end_of_text(bytes, end)?;
    Ok(sought.map(|sought| sought.found.and_then(|(start, end)| text.get(start..end))))
}

struct Sought<'a> {
    keys: &'a [&'a str],
    /// How many of its keys led to where the scan is.
    matched: usize,
    /// Where the value starts and ends.
    found: Option<(usize, usize)>,
}

/// The end of the value at `at`, which lies `depth` keys deep. If it is an object, looks for the places that are in it.
fn value(text: &[u8], at: usize, depth: usize, sought: &mut [Sought<'_>]) -> Result<usize, Refused> {
    if text.get(at) != Some(&b'{') || !sought.iter().any(|sought| sought.leads_into(depth)) {
        return scan::value(text, at, MAX_DEPTH - depth, &mut ());
    }
    let mut at = scan::space(text, at + 1);
    if text.get(at) == Some(&b'}') {
        return Ok(at + 1);
    }
    loop {
        let (key, start) = scan::member(text, at)?;
        for sought in sought.iter_mut().filter(|sought| sought.leads_into(depth)) {
            if is_key(text, key, sought.keys[depth]) {
                sought.matched = depth + 1;
                sought.found = None;
            }
        }
        let end = value(text, start, depth + 1, sought)?;
        for sought in sought.iter_mut().filter(|sought| sought.matched == depth + 1) {
            if sought.keys.len() == depth + 1 {
                sought.found = Some((start, end));
            }
            sought.matched = depth;
        }
        let (more, next) = scan::next_part(text, end, b'}')?;
        if !more {
            return Ok(next);
        }
        at = next;
    }
}

impl Sought<'_> {
    /// Is the place below the value that lies `depth` keys deep, where the scan is?
    fn leads_into(&self, depth: usize) -> bool {
        self.matched == depth && self.keys.len() > depth
    }
}

fn is_key(text: &[u8], key: Quoted, name: &str) -> bool {
    let quoted = &text[key.start..key.end];
    match key.escaped {
        false => quoted[1..quoted.len() - 1] == *name.as_bytes(),
        true => *duplicates::unescape(quoted, true) == *name.as_bytes(),
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
            r#"{"b":{"c":{"b":{"c":1}}}}"#,
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
