//! The scanner: one pass over JSON text that finds the end of a value, or an error in it. Parsing, opening a node and the
//! search for duplicate keys all use this pass, so that they cannot disagree.
//!
//! It accepts exactly the texts that parse to a `serde_json::Value`, given valid UTF-8, which `Document::parse` checks
//! once. If it accepted more or less than the provider's parser, a request could pass a guard unseen. A visitor may also
//! accept *irregular* places, which some providers write (rule F8): `NaN`, `Infinity`, `-Infinity`, a number that is too
//! large, and half a pair of surrogates. It builds nothing and unescapes nothing.

/// Maximum depth of nested containers. `serde_json` refuses the 128th.
pub(super) const MAX_DEPTH: usize = 127;

/// An error in a text: its position and the reason.
#[derive(Debug)]
pub(super) struct ScanError {
    /// Offset in bytes from the start of the text.
    pub(super) at: usize,
    pub(super) reason: &'static str,
}

type Result<T> = std::result::Result<T, ScanError>;

#[cold]
fn refuse<T>(at: usize, reason: &'static str) -> Result<T> {
    Err(ScanError { at, reason })
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
    fn key(&mut self, _key: Quoted) {}
    fn object_ends(&mut self) {}
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

/// Passes an irregular place to the visitor. Returns its end, or refuses the text.
#[cold]
fn irregular(place: Irregular, reason: &'static str, visitor: &mut impl Visitor) -> Result<usize> {
    match visitor.irregular(place) {
        true => Ok(place.end),
        false => refuse(place.start, reason),
    }
}

/// Returns the end of the value that starts at `at`. It may nest `room` containers.
#[inline]
pub(super) fn value(text: &[u8], at: usize, room: usize, visitor: &mut impl Visitor) -> Result<usize> {
    // Most values are strings.
    match text.get(at) {
        Some(b'"') => string(text, at, visitor).map(|string| string.end),
        _ => any_value(text, at, room, visitor),
    }
}

fn any_value(text: &[u8], mut at: usize, room: usize, visitor: &mut impl Visitor) -> Result<usize> {
    // One bit for each open container, the innermost lowest: 1 is an object. 127 of them fit.
    let mut open: u128 = 0;
    let mut depth = 0;
    loop {
        let byte = text.get(at).copied();
        match byte {
            Some(b'"') => at = string(text, at, visitor)?.end,
            Some(b'{' | b'[') => {
                if depth == room {
                    return refuse(at, "recursion limit exceeded");
                }
                depth += 1;
                open = open << 1 | u128::from(byte == Some(b'{'));
                at = space(text, at + 1);
                if byte == Some(b'{') {
                    visitor.object_starts();
                    if text.get(at) != Some(&b'}') {
                        let (key, next) = member(text, at, visitor)?;
                        visitor.key(key);
                        at = next;
                        continue;
                    }
                } else if text.get(at) != Some(&b']') {
                    continue;
                }
            }
            Some(b'-' | b'0'..=b'9') => at = number(text, at, visitor)?,
            Some(b't') => at = literal(text, at, b"true")?,
            Some(b'f') => at = literal(text, at, b"false")?,
            Some(b'n') => at = literal(text, at, b"null")?,
            _ => at = not_finite(text, at, "expected value", visitor)?,
        }
        // After the end of a value, the containers around it may end, too.
        loop {
            if depth == 0 {
                return Ok(at);
            }
            at = space(text, at);
            match (text.get(at), open & 1 == 1) {
                (Some(b','), true) => {
                    let (key, next) = member(text, space(text, at + 1), visitor)?;
                    visitor.key(key);
                    at = next;
                    break;
                }
                (Some(b','), false) => {
                    at = space(text, at + 1);
                    break;
                }
                (Some(b'}'), true) => visitor.object_ends(),
                (Some(b']'), false) => {}
                _ => return refuse(at, "expected `,` or the end of a container"),
            }
            at += 1;
            depth -= 1;
            open >>= 1;
        }
    }
}

/// Returns the range of the value in a text that contains nothing else but space.
pub(super) fn whole(text: &[u8], room: usize) -> Result<(usize, usize)> {
    let start = space(text, 0);
    let end = value(text, start, room, &mut ())?;
    end_of_text(text, end)?;
    Ok((start, end))
}

/// Checks that only space follows.
pub(super) fn end_of_text(text: &[u8], at: usize) -> Result<()> {
    match space(text, at) {
        end if end == text.len() => Ok(()),
        at => refuse(at, "trailing characters"),
    }
}

/// Returns the key of the member that starts at `at`, and the start of its value.
#[inline]
pub(super) fn member(text: &[u8], at: usize, visitor: &mut impl Visitor) -> Result<(Quoted, usize)> {
    if text.get(at) != Some(&b'"') {
        return refuse(at, "key must be a string");
    }
    let key = string(text, at, visitor)?;
    let colon = space(text, key.end);
    if text.get(colon) != Some(&b':') {
        return refuse(colon, "expected `:`");
    }
    Ok((key, space(text, colon + 1)))
}

/// Moves on after a part of a container that `close` ends. Returns true and the start of the next part, or false and the
/// container's end.
pub(super) fn next_part(text: &[u8], at: usize, close: u8) -> Result<(bool, usize)> {
    let at = space(text, at);
    match text.get(at) {
        Some(b',') => Ok((true, space(text, at + 1))),
        Some(&byte) if byte == close => Ok((false, at + 1)),
        _ => refuse(at, "expected `,` or the end of a container"),
    }
}

/// Returns the position of the first byte at or after `at` that is not white space.
#[inline]
pub(super) fn space(text: &[u8], mut at: usize) -> usize {
    while let Some(b' ' | b'\n' | b'\t' | b'\r') = text.get(at) {
        at += 1;
    }
    at
}

fn literal(text: &[u8], at: usize, word: &[u8]) -> Result<usize> {
    match text[at..].starts_with(word) {
        true => Ok(at + word.len()),
        false => refuse(at, "expected ident"),
    }
}

/// The words of JavaScript and Python for numbers that JSON does not have.
const NOT_FINITE: [&[u8]; 3] = [b"NaN", b"Infinity", b"-Infinity"];

/// Returns the end of the word at `at` for a number that JSON does not have. Refuses the text if there is none.
#[cold]
fn not_finite(text: &[u8], at: usize, reason: &'static str, visitor: &mut impl Visitor) -> Result<usize> {
    let rest = text.get(at..).unwrap_or_default();
    match NOT_FINITE.iter().find(|word| rest.starts_with(word)) {
        Some(word) => {
            let place = Irregular { start: at, end: at + word.len(), instead: "null" };
            irregular(place, reason, visitor)
        }
        None => refuse(at, reason),
    }
}

/// Returns the end of the number that starts at `start`.
#[inline]
fn number(text: &[u8], start: usize, visitor: &mut impl Visitor) -> Result<usize> {
    let digits = |from: usize| {
        let rest = text.get(from..).unwrap_or_default();
        from + rest.iter().position(|byte| !byte.is_ascii_digit()).unwrap_or(rest.len())
    };
    let first = start + usize::from(text[start] == b'-');
    let mut at = match text.get(first) {
        Some(b'0') => first + 1,
        Some(b'1'..=b'9') => digits(first),
        Some(b'I') => return not_finite(text, start, "invalid number", visitor),
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
        return irregular(place, "number out of range", visitor);
    }
    Ok(at)
}

/// Returns the range of the string whose first quote is at `start`.
#[inline]
pub(super) fn string(text: &[u8], start: usize, visitor: &mut impl Visitor) -> Result<Quoted> {
    let mut at = start + 1;
    let mut escaped = false;
    loop {
        at = plain(text, at);
        match text.get(at) {
            Some(b'"') => return Ok(Quoted { start, end: at + 1, escaped }),
            Some(b'\\') => {
                escaped = true;
                at = escape(text, at, visitor)?;
            }
            Some(_) => return refuse(at, "control character found while parsing a string"),
            None => return refuse(at, "EOF while parsing a string"),
        }
    }
}

/// Returns the end of the escape that starts at `at`. A pair of surrogates is one escape.
fn escape(text: &[u8], at: usize, visitor: &mut impl Visitor) -> Result<usize> {
    let half = Irregular { start: at, end: at + 6, instead: "\\ufffd" };
    match text.get(at + 1) {
        Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => Ok(at + 2),
        Some(b'u') => match hex(text, at + 2) {
            Some(0xD800..=0xDBFF) => match (text.get(at + 6..at + 8), hex(text, at + 8)) {
                (Some(b"\\u"), Some(0xDC00..=0xDFFF)) => Ok(at + 12),
                _ => irregular(half, "lone leading surrogate in hex escape", visitor),
            },
            Some(0xDC00..=0xDFFF) => irregular(half, "lone trailing surrogate in hex escape", visitor),
            Some(_) => Ok(at + 6),
            None => refuse(at, "invalid escape"),
        },
        _ => refuse(at, "invalid escape"),
    }
}

/// The four hexadecimal digits at `at`.
fn hex(text: &[u8], at: usize) -> Option<u32> {
    let digits = text.get(at..at + 4)?;
    digits.iter().try_fold(0, |number, &digit| Some(number << 4 | char::from(digit).to_digit(16)?))
}

/// Returns the position of the first quote, backslash or control character at or after `at`; the length of the text if
/// there is none. Bodies are mostly long strings, so most of the time is spent here: keys end in the first words, and
/// long content takes the loop that compiles to vector instructions.
#[inline]
fn plain(text: &[u8], mut at: usize) -> usize {
    const CHUNK: usize = 64;
    for _ in 0..4 {
        let Some(&word) = text[at..].first_chunk() else { return plain_bytes(text, at) };
        match special(u64::from_le_bytes(word)) {
            0 => at += 8,
            mask => return at + mask.trailing_zeros() as usize / 8,
        }
    }
    while let Some(chunk) = text[at..].first_chunk::<CHUNK>() {
        let is_special = |&byte: &u8| (byte == b'"') | (byte == b'\\') | (byte < 0x20);
        if chunk.iter().fold(false, |any, byte| any | is_special(byte)) {
            break;
        }
        at += CHUNK;
    }
    while let Some(&word) = text[at..].first_chunk() {
        match special(u64::from_le_bytes(word)) {
            0 => at += 8,
            mask => return at + mask.trailing_zeros() as usize / 8,
        }
    }
    plain_bytes(text, at)
}

fn plain_bytes(text: &[u8], at: usize) -> usize {
    let rest = &text[at..];
    at + rest.iter().position(|&byte| byte == b'"' || byte == b'\\' || byte < 0x20).unwrap_or(rest.len())
}

/// Marks the high bit of each special byte of a word. A borrow may also mark a byte above a special one, never one below:
/// the lowest mark is always right.
#[inline]
fn special(word: u64) -> u64 {
    const ONES: u64 = u64::MAX / 0xFF;
    let below = |word: u64, limit: u8| word.wrapping_sub(ONES * u64::from(limit)) & !word;
    let quote = below(word ^ (ONES * u64::from(b'"')), 1);
    let backslash = below(word ^ (ONES * u64::from(b'\\')), 1);
    (quote | backslash | below(word, 0x20)) & (ONES * 0x80)
}

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
                    match string(padded.as_bytes(), 0, &mut ()) {
                        Ok(quoted) => assert!(found && quoted.end == text.len(), "{padded:?}"),
                        Err(error) => assert!(!found && error.at == 1 + content.len(), "{padded:?}"),
                    }
                }
            }
        }
    }
}
