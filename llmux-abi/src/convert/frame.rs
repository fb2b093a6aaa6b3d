//! Chunks that differ from the chunk before them in nothing but the texts that the model writes.
//!
//! Most chunks of a stream do. The host and plugins that read each chunk know all but the texts of such a chunk already, so
//! that they need no parser for it.

/// Members whose texts a frame leaves open, each with whether the model writes it. `obfuscation` is the padding of a provider.
const OPEN: [(&[u8], bool); 6] = [
    (b"content", true),
    (b"reasoning", true),
    (b"reasoning_content", true),
    (b"refusal", true),
    (b"text", true),
    (b"obfuscation", false),
];

/// Compares each chunk of a stream with the frame of the chunk before: its text without the texts that the model writes.
///
/// ```
/// use llmux_abi::convert::Frames;
///
/// let mut frames = Frames::default();
/// let chunk = |text: &str| format!(r#"{{"choices":[{{"index":0,"delta":{{"content":"{text}"}}}}]}}"#);
/// assert!(frames.read(chunk("Hello").as_bytes()).is_none());
/// let repeat = frames.read(chunk(" you").as_bytes()).expect("the same frame");
/// assert_eq!(repeat.growth, -1);
/// ```
#[derive(Clone, Debug, Default)]
pub struct Frames {
    /// The last chunk that did not repeat the frame before it.
    first: Vec<u8>,
}

/// A chunk that differs from the first chunk of its frame in texts alone. These texts have no escapes and are UTF-8, so that the
/// chunk is JSON if the first chunk is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Repeat {
    /// Bytes by which the texts of the model are longer than those of the first chunk; negative if they are shorter.
    pub growth: isize,
    /// Place of the first text that differs, in bytes from the beginning of the chunk.
    pub start: usize,
}

impl Frames {
    /// Takes the next chunk: the event's data. Returns `None` if it does not have the frame of the chunk before; it is then the
    /// first chunk of a frame.
    pub fn read(&mut self, chunk: &[u8]) -> Option<Repeat> {
        let repeat = repeat(&self.first, chunk);
        if repeat.is_none() {
            self.first.clear();
            self.first.extend_from_slice(chunk);
        }
        repeat
    }
}

fn repeat(first: &[u8], chunk: &[u8]) -> Option<Repeat> {
    let (mut growth, mut start) = (0, None);
    // The parts after the last text that differed.
    let (mut old, mut new) = (first, chunk);
    while let Some(at) = difference(old, new) {
        let quote = old[..at].iter().rposition(|byte| *byte == b'"')?;
        let is_written = open_member(&old[..quote])?;
        let text = quote + 1;
        let (old_end, new_end) = (text + text_length(&old[text..])?, text + plain_length(&new[text..])?);
        str::from_utf8(&new[text..new_end]).ok()?;
        growth += if is_written { new_end as isize - old_end as isize } else { 0 };
        start = start.or(Some(text));
        (old, new) = (&old[old_end..], &new[new_end..]);
    }
    (!first.is_empty()).then_some(Repeat { growth, start: start.unwrap_or(chunk.len()) })
}

/// Returns the place of the first byte that differs; `None` if the parts are equal.
fn difference(old: &[u8], new: &[u8]) -> Option<usize> {
    if old == new {
        return None;
    }
    let mut same = 0;
    for (old, new) in old.chunks_exact(16).zip(new.chunks_exact(16)) {
        if old != new {
            break;
        }
        same += 16;
    }
    let rest = old[same..].iter().zip(&new[same..]);
    Some(same + rest.take_while(|(old, new)| old == new).count())
}

/// Returns whether the model writes the value that follows a text, if a frame leaves it open. Only the name of a member and a
/// colon stand before a value: inside of a string, their quotes have backslashes.
fn open_member(before: &[u8]) -> Option<bool> {
    let name = before.trim_ascii_end().strip_suffix(b":")?.trim_ascii_end().strip_suffix(b"\"")?;
    let is = |open: &[u8]| {
        name.strip_suffix(open).is_some_and(|rest| rest.ends_with(b"\"") && !rest.ends_with(b"\\\""))
    };
    OPEN.iter().find(|(open, _)| is(open)).map(|(_, is_written)| *is_written)
}

/// Returns the length of a text that may have escapes, up to the quote that ends it.
fn text_length(text: &[u8]) -> Option<usize> {
    let mut is_escaped = false;
    text.iter().position(|byte| {
        let ends = *byte == b'"' && !is_escaped;
        is_escaped = *byte == b'\\' && !is_escaped;
        ends
    })
}

/// Returns the length of a text without escapes, up to the quote that ends it.
fn plain_length(text: &[u8]) -> Option<usize> {
    let end = text.iter().position(|byte| *byte < b' ' || matches!(byte, b'"' | b'\\'))?;
    (text[end] == b'"').then_some(end)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns the growth that the frames see in the second chunk.
    fn growth(first: &[u8], second: &[u8]) -> Option<isize> {
        let mut frames = Frames::default();
        assert_eq!(frames.read(first), None, "{}", first.escape_ascii());
        frames.read(second).map(|repeat| repeat.growth)
    }

    #[test]
    fn a_chunk_repeats_the_frame_if_nothing_else_differs() {
        let first =
            r#"{"id":"a","choices":[{"delta":{"content": "wxyz" ,"role":null}}],"obfuscation":"abc"}"#;
        for (second, expected) in [
            (first.to_owned(), Some(0)),
            (first.replace("wxyz", "hello"), Some(1)),
            (first.replace("wxyz", "wx"), Some(-2)),
            (first.replace("wxyz", "wxyzé"), Some(2)),
            (first.replace("wxyz", "").replace("abc", ""), Some(-4)),
            (first.replace("abc", "abcdefgh"), Some(0)),
            (first.replace("wxyz", "a").replace("abc", "defgh"), Some(-3)),
            (first.replace("wxyz", "a\\n"), None),
            (first.replace("wxyz", "a\nb"), None),
            (first.replace("wxyz", "wxyz\",\"b\":\"c"), None),
            (first.replace("wxyz\"", "null"), None),
            (first.replace("wxyz", "a").replace("null", "1"), None),
            (first.replace("\"a\"", "\"b\""), None),
            (first.to_owned() + " ", None),
            (first.replace('}', ""), None),
            (String::new(), None),
        ] {
            assert_eq!(growth(first.as_bytes(), second.as_bytes()), expected, "{second}");
        }
        assert_eq!(growth(br#"{"text":"a"}"#, b"{\"text\":\"\xff\"}"), None);
        assert_eq!(growth(br#"{"text":"a\"b"}"#, br#"{"text":"a\"c"}"#), None);
        assert_eq!(growth(br#"{"text":"a\"b"}"#, br#"{"text":"ac"}"#), Some(-2));
        assert_eq!(growth(br#"{"text":"\\a\""}"#, br#"{"text":"bc"}"#), Some(-3));
        assert_eq!(growth("{\"text\":\"é\"}".as_bytes(), "{\"text\":\"è\"}".as_bytes()), Some(0));
    }

    #[test]
    fn a_text_elsewhere_is_part_of_the_frame() {
        for (first, second) in [
            (r#"{"note":"\"content\":\"x\""}"#, r#"{"note":"\"content\":\"y\""}"#),
            (r#"{"content":{"a":"x"}}"#, r#"{"content":{"a":"y"}}"#),
            (r#"{"content":["x"]}"#, r#"{"content":["y"]}"#),
            (r#"{"my\"content":"x"}"#, r#"{"my\"content":"y"}"#),
            (r#"{"my content":"x"}"#, r#"{"my content":"y"}"#),
            (r#"{"content":"x"#, r#"{"content":"y"#),
            (r#"["content","x"]"#, r#"["content","y"]"#),
            (r#""x""#, r#""y""#),
            ("", ""),
            ("1", "2"),
        ] {
            assert_eq!(growth(first.as_bytes(), second.as_bytes()), None, "{second}");
        }
    }

    #[test]
    fn the_first_text_that_differs_has_a_place() {
        let mut frames = Frames::default();
        frames.read(br#"{"text":"abc","refusal":"d"}"#);
        let read = |frames: &mut Frames, chunk: &[u8]| frames.read(chunk).map(|repeat| repeat.start);
        assert_eq!(read(&mut frames, br#"{"text":"xy","refusal":"d"}"#), Some(9));
        assert_eq!(read(&mut frames, br#"{"text":"abc","refusal":"e"}"#), Some(25));
        assert_eq!(read(&mut frames, br#"{"text":"abc","refusal":"d"}"#), Some(28));
    }
}
