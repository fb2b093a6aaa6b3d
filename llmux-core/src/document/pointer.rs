//! JSON Pointers (RFC 6901), which name places in a document. `node` follows them to read, `edit` to change. Splitting a
//! pointer allocates nothing, unless a token contains `~0` or `~1`.
//!
//! Deliberately absent: the meaning of a token. `0` is an element of an array, or a member of an object.

use std::borrow::Cow;

/// A pointer, or the rest of one on the way down.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pointer<'a> {
    /// Empty, or starts with a slash.
    rest: &'a str,
    /// True if a token has an escape.
    is_escaped: bool,
}

impl<'a> Pointer<'a> {
    /// Checks a pointer's text. `None` if it is invalid: it is not empty and does not start with `/`, or it has a `~` without
    /// a `0` or `1` after it.
    pub(super) fn parse(text: &'a str) -> Option<Self> {
        if !text.is_empty() && !text.starts_with('/') {
            return None;
        }
        let broken = |(at, _)| !matches!(text.as_bytes().get(at + 1), Some(b'0' | b'1'));
        let is_escaped = text.as_bytes().contains(&b'~');
        if is_escaped && text.match_indices('~').any(broken) {
            return None;
        }
        Some(Self { rest: text, is_escaped })
    }

    /// The first token, unescaped, and the rest of the pointer. `None` for an empty pointer, which names the current place.
    pub(super) fn split(self) -> Option<(Cow<'a, str>, Pointer<'a>)> {
        let tokens = self.rest.strip_prefix('/')?;
        let end = tokens.bytes().position(|byte| byte == b'/').unwrap_or(tokens.len());
        let (token, rest) = tokens.split_at(end);
        let token = if self.is_escaped {
            // In this order, or `~01` would become a slash (RFC 6901, section 4).
            Cow::Owned(token.replace("~1", "/").replace("~0", "~"))
        } else {
            Cow::Borrowed(token)
        };
        Some((token, Pointer { rest, ..self }))
    }

    /// Returns true if no token is left.
    pub(super) fn is_empty(self) -> bool {
        self.rest.is_empty()
    }

    /// The number of tokens that are left, which is the depth of the place.
    pub(super) fn depth(self) -> usize {
        self.rest.bytes().filter(|&byte| byte == b'/').count()
    }
}

/// The array index that a token names: digits without leading zeros.
pub(super) fn index(token: &str) -> Option<usize> {
    let digits = token.as_bytes();
    if !digits.iter().all(u8::is_ascii_digit) || (digits.len() > 1 && digits[0] == b'0') {
        return None;
    }
    token.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tokens(text: &str) -> Option<Vec<String>> {
        let mut pointer = Pointer::parse(text)?;
        let mut tokens = Vec::new();
        while let Some((token, rest)) = pointer.split() {
            tokens.push(token.into_owned());
            pointer = rest;
        }
        Some(tokens)
    }

    #[test]
    fn a_pointer_splits_into_unescaped_tokens() {
        for (text, expect) in [
            ("", Some(vec![])),
            ("/", Some(vec![""])),
            ("/a/b", Some(vec!["a", "b"])),
            ("/a/", Some(vec!["a", ""])),
            ("/a~1b/m~0n/~01", Some(vec!["a/b", "m~n", "~1"])),
            ("a", None),
            ("/~", None),
            ("/~2", None),
        ] {
            let expect =
                expect.map(|tokens: Vec<&str>| tokens.into_iter().map(String::from).collect::<Vec<_>>());
            assert_eq!(tokens(text), expect, "{text:?}");
        }
    }

    #[test]
    fn an_index_has_no_leading_zero_and_no_sign() {
        for (token, expect) in [
            ("0", Some(0)),
            ("10", Some(10)),
            ("00", None),
            ("01", None),
            ("+1", None),
            ("-1", None),
            ("-", None),
            ("", None),
            ("1e0", None),
            ("99999999999999999999", None),
        ] {
            assert_eq!(index(token), expect, "{token:?}");
        }
    }
}
