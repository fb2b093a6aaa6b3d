//! The tokens of JSON text: strings, numbers, literals and white space, and the visitor that a scan reports to.
//!
//! `scan`, `open` and `find` use it. Bodies are mostly strings, whose ends `marks` finds. Deliberately absent: the order of
//! tokens, which `scan` checks.

use super::marks::Marks;

/// An error in a text: its position and the reason.
#[derive(Debug)]
pub(super) struct ScanError {
    /// Offset in bytes from the start of the text.
    pub(super) at: usize,
    pub(super) reason: &'static str,
}

/// The error is boxed, so that a position is returned in registers.
pub(super) type Result<T> = std::result::Result<T, Box<ScanError>>;

#[cold]
pub(super) fn refuse<T>(at: usize, reason: &'static str) -> Result<T> {
    Err(Box::new(ScanError { at, reason }))
}

/// The range of a string in the text, quotes included.
#[derive(Clone, Copy, Debug)]
pub(super) struct Quoted {
    pub(super) start: usize,
    pub(super) end: usize,
    /// True if the string has escapes: its content differs from the text between the quotes.
    pub(super) escaped: bool,
}

/// A place in a text that JSON does not allow, and the JSON that a reader receives instead.
#[derive(Clone, Copy, Debug)]
pub(super) struct Irregular {
    pub(super) start: usize,
    pub(super) end: usize,
    pub(super) instead: &'static str,
}

/// Receives the objects and keys that a scan passes, outermost first.
pub(super) trait Visitor {
    fn object_starts(&mut self) {}
    /// Receives a key. `print` is the same for keys of one text, and most likely differs for other keys.
    fn key(&mut self, _key: Quoted, _print: u64) {}
    fn object_ends(&mut self) {}
    /// Returns true if the text so far is known to have no key twice and no irregular place.
    fn is_clean(&self) -> bool {
        false
    }
    /// Receives an irregular place. Returns false if the scan refuses the text because of it.
    fn irregular(&mut self, _place: Irregular) -> bool {
        false
    }
}

/// Ignores everything, and refuses irregular places.
impl Visitor for () {}

/// Ignores everything, and accepts irregular places.
pub(super) struct Lenient;

impl Visitor for Lenient {
    fn irregular(&mut self, _place: Irregular) -> bool {
        true
    }
}

/// A scan of a text. Its functions take a position, and return the position after what they have passed.
pub(super) struct Scanner<'a, V> {
    pub(super) text: &'a [u8],
    pub(super) visitor: &'a mut V,
    marks: Marks,
}

impl<'a, V: Visitor> Scanner<'a, V> {
    pub(super) fn new(text: &'a [u8], visitor: &'a mut V) -> Self {
        Self { text, visitor, marks: Marks::new(text) }
    }

    /// Passes an irregular place to the visitor. Returns its end, or refuses the text.
    #[cold]
    fn irregular(&mut self, place: Irregular, reason: &'static str) -> Result<usize> {
        match self.visitor.irregular(place) {
            true => Ok(place.end),
            false => refuse(place.start, reason),
        }
    }

    #[inline]
    pub(super) fn byte(&self, at: usize) -> Option<u8> {
        self.text.get(at).copied()
    }

    /// Returns the position of the first byte at or after `at` that is not white space.
    #[inline]
    pub(super) fn space(&self, mut at: usize) -> usize {
        while let Some(b' ' | b'\n' | b'\t' | b'\r') = self.byte(at) {
            at += 1;
        }
        at
    }

    #[inline]
    pub(super) fn literal(&self, at: usize, word: &[u8]) -> Result<usize> {
        match self.text[at..].starts_with(word) {
            true => Ok(at + word.len()),
            false => refuse(at, "expected ident"),
        }
    }

    /// Returns the end of the word at `at` for a number that JSON does not have. Refuses the text if there is none.
    #[cold]
    pub(super) fn not_finite(&mut self, at: usize, reason: &'static str) -> Result<usize> {
        let rest = self.text.get(at..).unwrap_or_default();
        match NOT_FINITE.iter().find(|word| rest.starts_with(word)) {
            Some(word) => {
                let place = Irregular { start: at, end: at + word.len(), instead: "null" };
                self.irregular(place, reason)
            }
            None => refuse(at, reason),
        }
    }

    /// Returns the end of the number that starts at `start`.
    #[inline]
    pub(super) fn number(&mut self, start: usize) -> Result<usize> {
        let text = self.text;
        let digits = |from: usize| {
            let rest = text.get(from..).unwrap_or_default();
            from + rest.iter().position(|byte| !byte.is_ascii_digit()).unwrap_or(rest.len())
        };
        let first = start + usize::from(text[start] == b'-');
        let mut at = match text.get(first) {
            Some(b'0') => first + 1,
            Some(b'1'..=b'9') => digits(first),
            Some(b'I') => return self.not_finite(start, "invalid number"),
            _ => return refuse(first, "invalid number"),
        };
        if text.get(at) == Some(&b'.') {
            let end = digits(at + 1);
            if end == at + 1 {
                return refuse(end, "invalid number");
            }
            at = end;
        }
        let mut exponent = 0;
        if let Some(b'e' | b'E') = text.get(at) {
            let from = at + 1 + usize::from(matches!(text.get(at + 1), Some(b'+' | b'-')));
            at = digits(from);
            exponent = at - from;
            if exponent == 0 {
                return refuse(at, "invalid number");
            }
        }
        // Only a number of at least 309 digits before the point, counting its exponent, can be too large for an `f64`.
        // For these, `serde_json` decides, since the scanner has to agree with it.
        if (exponent > 2 || at - start > 200)
            && serde_json::from_slice::<serde_json::Value>(&text[start..at]).is_err()
        {
            let place = Irregular { start, end: at, instead: "null" };
            return self.irregular(place, "number out of range");
        }
        Ok(at)
    }

    /// Returns the end of the string whose first quote is at `start`.
    #[inline]
    pub(super) fn string(&mut self, start: usize) -> Result<usize> {
        let end = self.marks.next(self.text, start + 1);
        match self.byte(end) {
            Some(b'"') => Ok(end + 1),
            _ => self.escaped_string(end),
        }
    }

    /// Returns the end of a string, of which everything before `at` is plain. There is an escape, or an error.
    fn escaped_string(&mut self, mut at: usize) -> Result<usize> {
        loop {
            match self.byte(at) {
                Some(b'"') => return Ok(at + 1),
                Some(b'\\') => {
                    let next = match self.byte(at + 1) {
                        Some(byte) if IS_SIMPLE[usize::from(byte)] => at + 2,
                        _ => self.escape(at)?,
                    };
                    at = self.marks.next(self.text, next);
                }
                Some(_) => return refuse(at, "control character found while parsing a string"),
                None => return refuse(self.text.len(), "EOF while parsing a string"),
            }
        }
    }

    /// Returns the end of an escape of more than two bytes, which starts at `at`. A pair of surrogates is one escape.
    fn escape(&mut self, at: usize) -> Result<usize> {
        let text = self.text;
        let half = Irregular { start: at, end: at + 6, instead: "\\ufffd" };
        match text.get(at + 1) {
            Some(b'u') => match hex(text, at + 2) {
                Some(0xD800..=0xDBFF) => match (text.get(at + 6..at + 8), hex(text, at + 8)) {
                    (Some(b"\\u"), Some(0xDC00..=0xDFFF)) => Ok(at + 12),
                    _ => self.irregular(half, "lone leading surrogate in hex escape"),
                },
                Some(0xDC00..=0xDFFF) => self.irregular(half, "lone trailing surrogate in hex escape"),
                Some(_) => Ok(at + 6),
                None => refuse(at, "invalid escape"),
            },
            _ => refuse(at, "invalid escape"),
        }
    }

    /// Reports the key whose first quote is at `start` to the visitor, and returns it.
    #[inline]
    pub(super) fn key(&mut self, start: usize) -> Result<Quoted> {
        let end = self.marks.next(self.text, start + 1);
        let key = match self.byte(end) {
            Some(b'"') => Quoted { start, end: end + 1, escaped: false },
            _ => Quoted { start, end: self.escaped_string(end)?, escaped: true },
        };
        self.visitor.key(key, print(self.text, key));
        Ok(key)
    }
}

/// A number for a key, which equal keys share and other keys most likely do not. A key with escapes has none.
#[inline]
fn print(text: &[u8], key: Quoted) -> u64 {
    const ODD: [u64; 2] = [0x9E37_79B9_7F4A_7C15, 0xC2B2_AE3D_27D4_EB4F];
    let mut rest = &text[key.start + 1..];
    let mut left = key.end - key.start - 2;
    let mut print = left as u64;
    loop {
        let block = rest.first_chunk().copied().unwrap_or_else(|| {
            let mut block = [0; 16];
            block[..rest.len()].copy_from_slice(rest);
            block
        });
        let block = u128::from_le_bytes(block);
        let block = if left < 16 { block & !(u128::MAX << (8 * left)) } else { block };
        let low = (block as u64 ^ print).wrapping_mul(ODD[0]);
        let high = ((block >> 64) as u64).wrapping_mul(ODD[1]);
        print = (low ^ high.rotate_left(32)).wrapping_mul(ODD[0]);
        if left <= 16 {
            return print;
        }
        left -= 16;
        rest = &rest[16..];
    }
}

/// The four hexadecimal digits at `at`.
fn hex(text: &[u8], at: usize) -> Option<u32> {
    let digits = text.get(at..at + 4)?;
    digits.iter().try_fold(0, |number, &digit| Some(number << 4 | char::from(digit).to_digit(16)?))
}

/// The words of JavaScript and Python for numbers that JSON does not have.
const NOT_FINITE: [&[u8]; 3] = [b"NaN", b"Infinity", b"-Infinity"];

/// Bytes that form an escape with a backslash before them.
static IS_SIMPLE: [bool; 256] = {
    let mut is_simple = [false; 256];
    let mut bytes: &[u8] = b"\"\\/bfnrt";
    while let [byte, rest @ ..] = bytes {
        is_simple[*byte as usize] = true;
        bytes = rest;
    }
    is_simple
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_string_ends_at_its_first_quote_wherever_it_falls_in_a_word() {
        for length in 0..300 {
            for filler in ["x", "é", "語", "\u{7f}"] {
                let content = filler.repeat(length);
                for (end, found) in [("\"", true), ("\\n\"", true), ("\u{1f}\"", false), ("", false)] {
                    let text = format!("\"{content}{end}");
                    let padded = format!("{text}{}", if found { " \"\\\u{0}more" } else { "" });
                    match Scanner::new(padded.as_bytes(), &mut ()).string(0) {
                        Ok(end) => assert!(found && end == text.len(), "{padded:?}"),
                        Err(error) => assert!(!found && error.at == 1 + content.len(), "{padded:?}"),
                    }
                }
            }
        }
    }
}
