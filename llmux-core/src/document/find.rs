//! Finds the JSON text at a few places in the same pass that validates the whole text. For a text that is read at these
//! places once and then most likely only sent on, such as an error. `Document::parse_and_find` calls it.
//!
//! It agrees with `open`: keys are compared unescaped, and of members with the same key the last one counts.
//! Deliberately absent: a tree of the text, and places in arrays.

use super::{
    duplicates,
    scan::MAX_DEPTH,
    token::{Quoted, Result, Scanner},
};

/// Validates the whole text, and returns the JSON text of each place. A place is named by the keys on the way to it.
pub(super) fn find<'t, const N: usize>(text: &'t str, places: [&[&str]; N]) -> Result<[Option<&'t str>; N]> {
    let bytes = text.as_bytes();
    let mut targets = places.map(|keys| Target { keys, matched: 0, found: None });
    let mut nothing = ();
    let mut scanner = Scanner::new(bytes, &mut nothing);
    let start = scanner.space(0);
    let end = value(&mut scanner, start, 0, &mut targets)?;
    scanner.end_of_text(end)?;
    Ok(targets.map(|target| target.found.and_then(|(start, end)| text.get(start..end))))
}

/// A place to find.
struct Target<'a> {
    keys: &'a [&'a str],
    /// The number of its keys that lead to the scan's current position.
    matched: usize,
    /// The start and end of the value.
    found: Option<(usize, usize)>,
}

/// Returns the end of the value at `at`, which is `depth` keys deep. If it is an object, finds the places in it.
fn value(
    scanner: &mut Scanner<'_, ()>,
    at: usize,
    depth: usize,
    targets: &mut [Target<'_>],
) -> Result<usize> {
    if scanner.byte(at) != Some(b'{') || !targets.iter().any(|target| target.leads_into(depth)) {
        return scanner.value(at, MAX_DEPTH - depth);
    }
    let mut at = scanner.space(at + 1);
    if scanner.byte(at) == Some(b'}') {
        return Ok(at + 1);
    }
    loop {
        let (key, start) = scanner.member(at)?;
        for target in targets.iter_mut().filter(|target| target.leads_into(depth)) {
            if is_key(scanner.text, key, target.keys[depth]) {
                target.matched = depth + 1;
                target.found = None;
            }
        }
        let end = value(scanner, start, depth + 1, targets)?;
        for target in targets.iter_mut().filter(|target| target.matched == depth + 1) {
            if target.keys.len() == depth + 1 {
                target.found = Some((start, end));
            }
            target.matched = depth;
        }
        let (more, next) = scanner.next_part(end, b'}')?;
        if !more {
            return Ok(next);
        }
        at = next;
    }
}

impl Target<'_> {
    /// Returns true if the place is below the value at the scan's current position, `depth` keys deep.
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
    fn it_finds_the_same_values_as_opening() {
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
            let found = find(text, [&["a"], &["b", "c"]]).expect(text);
            let document = Document::parse(text).expect(text);
            assert_eq!(found, [document.get("/a"), document.get("/b/c")], "{text}");
        }
    }

    #[test]
    fn it_refuses_the_same_texts_as_parsing() {
        for text in ["", "{", r#"{"a"}"#, r#"{"a":}"#, r#"{"a":1}x"#, r#"{"a":01}"#, r#"{"b":{"c":"}}"#] {
            assert!(Document::parse(text).is_err() && find(text, [&["a"], &["b", "c"]]).is_err(), "{text}");
        }
    }
}
