//! The scanner: one pass over JSON text that finds the end of a value, or an error in it. Parsing, opening a node and the
//! search for duplicate keys all use this pass, so that they cannot disagree.
//!
//! It accepts exactly the texts that parse to a `serde_json::Value`, given valid UTF-8, which `Document::parse` checks
//! once. If it accepted more or less than the provider's parser, a request could pass a guard unseen. A visitor may also
//! accept *irregular* places, which some providers write (rule F8): `NaN`, `Infinity`, `-Infinity`, a number that is too
//! large, and half a pair of surrogates. It builds nothing and unescapes nothing.

use super::token::{Quoted, Result, Scanner, Visitor, refuse};

/// Maximum depth of nested containers. `serde_json` refuses the 128th.
pub(super) const MAX_DEPTH: usize = 127;

impl<V: Visitor> Scanner<'_, V> {
    /// Returns the end of the value that starts at `at`. It may nest `room` containers.
    #[inline]
    pub(super) fn value(&mut self, at: usize, room: usize) -> Result<usize> {
        // Most values are strings.
        match self.byte(at) {
            Some(b'"') => self.string(at),
            _ => self.any_value(at, room),
        }
    }

    fn any_value(&mut self, mut at: usize, room: usize) -> Result<usize> {
        // One bit for each open container, the innermost lowest: 1 is an object. 127 of them fit.
        let mut open: u128 = 0;
        let mut depth = 0;
        loop {
            let byte = self.byte(at);
            match byte {
                Some(b'"') => at = self.string(at)?,
                Some(b'{' | b'[') => {
                    if depth == room {
                        return refuse(at, "recursion limit exceeded");
                    }
                    depth += 1;
                    open = open << 1 | u128::from(byte == Some(b'{'));
                    at = self.space(at + 1);
                    if byte == Some(b'{') {
                        self.visitor.object_starts();
                        if self.byte(at) != Some(b'}') {
                            (_, at) = self.member(at)?;
                            continue;
                        }
                    } else if self.byte(at) != Some(b']') {
                        continue;
                    }
                }
                Some(b'-' | b'0'..=b'9') => at = self.number(at)?,
                Some(b't') => at = self.literal(at, b"true")?,
                Some(b'f') => at = self.literal(at, b"false")?,
                Some(b'n') => at = self.literal(at, b"null")?,
                _ => at = self.not_finite(at, "expected value")?,
            }
            // After the end of a value, the containers around it may end, too.
            loop {
                if depth == 0 {
                    return Ok(at);
                }
                at = self.space(at);
                match (self.byte(at), open & 1 == 1) {
                    (Some(b','), true) => {
                        (_, at) = self.member(self.space(at + 1))?;
                        break;
                    }
                    (Some(b','), false) => {
                        at = self.space(at + 1);
                        break;
                    }
                    (Some(b'}'), true) => self.visitor.object_ends(),
                    (Some(b']'), false) => {}
                    _ => return refuse(at, "expected `,` or the end of a container"),
                }
                at += 1;
                depth -= 1;
                open >>= 1;
            }
        }
    }

    /// Checks that only space follows.
    pub(super) fn end_of_text(&self, at: usize) -> Result<()> {
        match self.space(at) {
            end if end == self.text.len() => Ok(()),
            at => refuse(at, "trailing characters"),
        }
    }

    /// Returns the key of the member that starts at `at`, and the start of its value.
    #[inline]
    pub(super) fn member(&mut self, at: usize) -> Result<(Quoted, usize)> {
        if self.byte(at) != Some(b'"') {
            return refuse(at, "key must be a string");
        }
        let key = self.key(at)?;
        let colon = self.space(key.end);
        if self.byte(colon) != Some(b':') {
            return refuse(colon, "expected `:`");
        }
        Ok((key, self.space(colon + 1)))
    }

    /// Moves on after a part of a container that `close` ends. Returns true and the start of the next part, or false and
    /// the container's end.
    pub(super) fn next_part(&self, at: usize, close: u8) -> Result<(bool, usize)> {
        let at = self.space(at);
        match self.byte(at) {
            Some(b',') => Ok((true, self.space(at + 1))),
            Some(byte) if byte == close => Ok((false, at + 1)),
            _ => refuse(at, "expected `,` or the end of a container"),
        }
    }
}

/// Returns the range of the value in a text that contains nothing else but space.
pub(super) fn whole(text: &[u8], room: usize, visitor: &mut impl Visitor) -> Result<(usize, usize)> {
    let mut scanner = Scanner::new(text, visitor);
    let start = scanner.space(0);
    let end = scanner.value(start, room)?;
    scanner.end_of_text(end)?;
    Ok((start, end))
}
