//! Finds places in the text of a value that was not opened, in one pass that builds nothing.
//!
//! To open a value costs several times as much as a pass, but is done once. Therefore a document has a [`Budget`] of bytes for
//! passes, beyond which its values are opened. Only clean values are passed: every reader receives their text as it came. A pass
//! ends at a name with an escape, which it does not read; the value is then opened.

use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

use super::{
    pointer::{self, Pointer},
    scan::MAX_DEPTH,
    token::{Lenient, Scanner},
};

/// Most bytes that a document's passes read, as a multiple of its size. One more pass may begin below it.
const PASSES: usize = 4;

/// The bytes that the passes over a document have read so far.
#[derive(Default)]
pub(super) struct Budget(AtomicU32); // not `usize`, since chunks are many and small

impl Budget {
    /// Returns true if a value of `bytes` may be passed, in a document of `all` bytes.
    pub(super) fn take(&self, bytes: usize, all: usize) -> bool {
        let read = self.0.load(Relaxed);
        let may_pass = read < u32::MAX && read as usize <= PASSES * all;
        if may_pass {
            // If two readers add at once, one sum may be lost: the bound is one of cost.
            self.0.store(read.saturating_add(u32::try_from(bytes).unwrap_or(u32::MAX)), Relaxed);
        }
        may_pass
    }
}

impl Clone for Budget {
    fn clone(&self) -> Self {
        Self(self.0.load(Relaxed).into())
    }
}

/// A name with an escape, at which a pass ends.
pub(super) struct Escaped;

/// Returns the text of a place; `None` if there is none. The text begins with the value that the pointer leads into.
///
/// # Errors
///
/// If a name with an escape comes before the place.
pub(super) fn find<'t>(text: &'t [u8], mut pointer: Pointer<'_>) -> Result<Option<&'t [u8]>, Escaped> {
    let mut visitor = Lenient;
    let mut scanner = Scanner::new(text, &mut visitor);
    let mut at = 0;
    while let Some((token, rest)) = pointer.split() {
        let found = match (scanner.byte(at), pointer::index(&token)) {
            (Some(b'{'), _) => part(&mut scanner, at, |name| name == token.as_bytes())?,
            (Some(b'['), Some(index)) => {
                let mut places = 0..index;
                part(&mut scanner, at, |_| places.next().is_none())?
            }
            _ => None,
        };
        let Some(found) = found else { return Ok(None) };
        at = found;
        pointer = rest;
    }
    Ok(scanner.value(at, MAX_DEPTH).ok().and_then(|end| text.get(at..end)))
}

/// Returns the start of the first value of an object or array for which `is_it` returns true. It receives the name of a
/// member, and an empty text for an element.
#[inline]
fn part(
    scanner: &mut Scanner<'_, Lenient>,
    at: usize,
    mut is_it: impl FnMut(&[u8]) -> bool,
) -> Result<Option<usize>, Escaped> {
    let is_object = scanner.byte(at) == Some(b'{');
    let close = if is_object { b'}' } else { b']' };
    let mut at = scanner.space(at + 1);
    let mut more = scanner.byte(at) != Some(close);
    while more {
        let mut name = &[][..];
        if is_object {
            let Ok((key, value)) = scanner.member(at) else { return Ok(None) };
            name = &scanner.text[key.start + 1..key.end - 1];
            at = value;
        }
        if name.contains(&b'\\') {
            return Err(Escaped);
        }
        if is_it(name) {
            return Ok(Some(at));
        }
        let Ok(end) = scanner.value(at, MAX_DEPTH) else { return Ok(None) };
        let Ok(next) = scanner.next_part(end, close) else { return Ok(None) };
        (more, at) = next;
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::document::Document;

    const TEXTS: [&str; 6] = [
        r#"{"a":{"b":[1, {"c" : "x" }, [] ],"d":{}}}"#,
        r#"{"a":[[{"b":1,"c":[2,3]}],"b",{"b":"\"","c":null}]}"#,
        r#"{ "a" : { "" : [ 0 , 1.5e3 , true ] , "b" : { "c" : -1 , "0" : "}" } } }"#,
        r#"{"a":[]}"#,
        r#"{"a":{}}"#,
        r#"{"a":"b"}"#,
    ];

    #[test]
    fn a_pass_finds_what_opening_finds() {
        let tokens = ["", "a", "b", "c", "d", "0", "1", "2", "3", "01", "-"];
        for text in TEXTS {
            for (one, two) in tokens.iter().flat_map(|one| tokens.iter().map(move |two| (one, two))) {
                for pointer in [format!("/a/{one}"), format!("/a/{one}/{two}"), format!("/a/{one}/{two}/0")] {
                    let (passed, opened) =
                        (Document::parse(text).expect("JSON"), Document::parse(text).expect("JSON"));
                    opened.passes.take(usize::MAX, 0);
                    assert_eq!(passed.get(&pointer), opened.get(&pointer), "{text} {pointer}");
                    assert_eq!(passed.get_str(&pointer), opened.get_str(&pointer), "{text} {pointer}");
                }
            }
        }
    }

    #[test]
    fn a_name_with_an_escape_is_found_also_in_a_value_that_is_clean() {
        for reads in [&[""][..], &["/a"], &["", "/a"]] {
            let mut document =
                Document::parse(r#"{"a":{"\u0062":1,"c":{"\"":2,"d":3}},"e":4}"#).expect("JSON");
            for edits in 0..3 {
                for read in reads {
                    document.get(read).expect("a place");
                }
                assert_eq!(document.get("/a/b"), Some("1"), "{reads:?}, {edits} edits");
                assert_eq!(document.get("/a/c/d"), Some("3"), "{reads:?}, {edits} edits");
                assert_eq!(document.get("/a/c/\""), Some("2"), "{reads:?}, {edits} edits");
                assert_eq!(document.get("/a/d"), None, "{reads:?}, {edits} edits");
                document.set("/new", "1").expect("an object");
                document.to_bytes();
            }
            let mut document = Document::parse(r#"{"a":{"\u0062":1,"c":2},"e":4}"#).expect("JSON");
            for read in reads {
                document.get(read).expect("a place");
            }
            document.set("/new", "1").expect("an object");
            assert_eq!(document.get("/a/b"), Some("1"), "{reads:?}");
        }
    }

    #[test]
    fn a_document_is_opened_once_it_was_passed_several_times() {
        let document = Document::parse(TEXTS[0]).expect("JSON");
        let is_opened =
            || document.root.peek().is_some_and(|root| root.peek().is_some_and(|it| it.has_subtree_below()));
        assert_eq!(document.get("/a/b/1/c"), Some("\"x\""));
        assert!(!is_opened());
        for _ in 0..=PASSES {
            assert_eq!(document.get("/a/b/1/c"), Some("\"x\""));
        }
        assert!(is_opened());
    }
}
