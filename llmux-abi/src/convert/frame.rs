//! Chunks that differ from the chunk before them in nothing but the texts that the model writes.
//!
//! Most chunks of a stream do. The host and plugins that read each chunk know all but the texts of such a chunk already, so
//! that they need no parser for it.

use std::ops::Range;

use memchr::{memchr, memchr2};

/// Members whose texts a frame leaves open, each with whether the model writes it. `obfuscation` is the padding of a provider.
const OPEN: [(&[u8], bool); 6] = [
    (b"content", true),
    (b"reasoning", true),
    (b"reasoning_content", true),
    (b"refusal", true),
    (b"text", true),
    (b"obfuscation", false),
];

/// Chunks in a row without a repeated frame, after which the frames of a stream are not compared any more.
const MOST_MISSES: u8 = 16;

/// Compares each chunk of a stream with the frame of the chunk before: its text without the texts that the model writes.
///
/// ```
/// use llmux_abi::convert::Frames;
///
/// let mut frames = Frames::default();
/// let chunk = |text: &str| format!(r#"{{"choices":[{{"index":0,"delta":{{"content":"{text}"}}}}]}}"#);
/// assert_eq!(frames.repeats(chunk("Hello").as_bytes()), None);
/// assert_eq!(frames.repeats(chunk(" you").as_bytes()), Some(4));
/// ```
#[derive(Clone, Debug, Default)]
pub struct Frames {
    /// The last chunk that did not repeat the frame before it.
    chunk: Vec<u8>,
    texts: Vec<Text>,
    misses: u8,
}

/// A text in a chunk, without its quotes.
#[derive(Clone, Debug)]
struct Text {
    place: Range<usize>,
    is_written: bool,
}

impl Frames {
    /// Takes the next chunk: the event's data. Returns the length of the texts that the model has written in it, in bytes, if
    /// the chunk has the frame of the chunk before. Its texts then have no escapes and are UTF-8, so that the chunk is JSON if
    /// the chunk before was. `None` for the first chunk of a frame.
    pub fn repeats(&mut self, chunk: &[u8]) -> Option<usize> {
        let written = self.written(chunk);
        match written {
            Some(_) => self.misses = 0,
            None => self.keep(chunk),
        }
        written
    }

    /// Returns the length of the texts that the model has written in the first chunk of the frame, in bytes, as JSON; and
    /// the place of the first text in that chunk.
    pub fn first_chunk(&self) -> Option<(usize, usize)> {
        let written = self.texts.iter().filter(|text| text.is_written);
        Some((written.map(|text| text.place.len()).sum(), self.texts.first()?.place.start))
    }

    fn written(&self, chunk: &[u8]) -> Option<usize> {
        let (mut from, mut rest, mut written) = (0, chunk, 0);
        for Text { place, is_written } in &self.texts {
            rest = rest.strip_prefix(&self.chunk[from..place.start])?;
            let length = rest.iter().position(|byte| *byte < b' ' || matches!(byte, b'"' | b'\\'))?;
            str::from_utf8(&rest[..length]).ok()?;
            written += if *is_written { length } else { 0 };
            rest = &rest[length..];
            from = place.end;
        }
        (!self.texts.is_empty() && *rest == self.chunk[from..]).then_some(written)
    }

    /// Makes a chunk the first one of a frame.
    fn keep(&mut self, chunk: &[u8]) {
        self.texts.clear();
        self.misses = self.misses.saturating_add(1);
        if self.misses > MOST_MISSES {
            return;
        }
        self.chunk.clear();
        self.chunk.extend_from_slice(chunk);
        let (mut at, mut open) = (0, None);
        while let Some(string) = next_string(chunk, at) {
            at = string.end + 1;
            let after = chunk[at..].iter().find(|byte| !byte.is_ascii_whitespace());
            match (after, open.take()) {
                (Some(b':'), _) => open = open_member(&chunk[string], &chunk[at..]),
                (_, Some(is_written)) => self.texts.push(Text { place: string, is_written }),
                (_, None) => {}
            }
        }
    }
}

/// Returns whether the model writes the value of a member, if a frame leaves the value open. `after` is the text after the name.
fn open_member(name: &[u8], after: &[u8]) -> Option<bool> {
    let (_, is_written) = OPEN.into_iter().find(|(open, _)| *open == name)?;
    let mut value = after.iter().filter(|byte| !byte.is_ascii_whitespace()).skip(1);
    (value.next() == Some(&b'"')).then_some(is_written)
}

/// Returns the place of the next string of a JSON text, without its quotes.
fn next_string(json: &[u8], from: usize) -> Option<Range<usize>> {
    let start = from + memchr(b'"', &json[from..])? + 1;
    let mut end = start;
    loop {
        end += memchr2(b'"', b'\\', json.get(end..)?)?;
        if json[end] == b'"' {
            return Some(start..end);
        }
        end += 2;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns what the frames say of the second chunk.
    fn repeats(first: &str, second: &str) -> Option<usize> {
        let mut frames = Frames::default();
        assert_eq!(frames.repeats(first.as_bytes()), None, "{first}");
        frames.repeats(second.as_bytes())
    }

    #[test]
    fn a_chunk_repeats_the_frame_if_nothing_else_differs() {
        let first = r#"{"id":"a","choices":[{"delta":{"content":"x\"y" ,"role":null}}],"obfuscation":"abc"}"#;
        for (second, expected) in [
            (first.replace("x\\\"y", "hello"), Some(5)),
            (first.replace("x\\\"y", "").replace("abc", ""), Some(0)),
            (first.replace("x\\\"y", "é").replace("abc", "defgh"), Some(2)),
            (first.to_owned(), None),
            (first.replace("x\\\"y", "a\\n"), None),
            (first.replace("x\\\"y", "a\nb"), None),
            (first.replace("x\\\"y", "a\",\"b\":\"c"), None),
            (first.replace("x\\\"y", "a").replace("null", "1"), None),
            (first.replace("x\\\"y", "a").replace("\"a\"", "\"b\""), None),
            (first.replace("x\\\"y", "a") + " ", None),
            (String::new(), None),
        ] {
            assert_eq!(repeats(first, &second), expected, "{second}");
        }
        let wrong = first.replace("x\\\"y", "?").into_bytes();
        let wrong: Vec<u8> = wrong.iter().map(|byte| if *byte == b'?' { 0xff } else { *byte }).collect();
        let mut frames = Frames::default();
        frames.repeats(first.as_bytes());
        assert_eq!(frames.repeats(&wrong), None, "no UTF-8");
    }

    #[test]
    fn a_text_elsewhere_is_part_of_the_frame() {
        let inside = r#"{"note":"\"content\":\"x\"","content":null,"a":["content","text"]}"#;
        assert_eq!(repeats(inside, inside), None);
        assert_eq!(repeats(r#"{"content":{"a":"x"}}"#, r#"{"content":{"a":"y"}}"#), None);
        assert_eq!(repeats(r#"{"my\"content":"x"}"#, r#"{"my\"content":"y"}"#), None);
        assert_eq!(repeats(r#"{"content":"x"#, r#"{"content":"x"#), None);
        assert_eq!(repeats("", ""), None);
    }

    #[test]
    fn a_stream_whose_frames_never_repeat_is_not_compared_for_ever() {
        let chunk = |id: u32| format!(r#"{{"id":{id},"content":"x"}}"#);
        let mut frames = Frames::default();
        for id in 0..100 {
            assert_eq!(frames.repeats(chunk(id).as_bytes()), None);
        }
        assert_eq!(frames.repeats(chunk(99).as_bytes()), None);
        let mut frames = Frames::default();
        for id in 0..100 {
            assert_eq!(frames.repeats(chunk(id / 2).as_bytes()), (id % 2 == 1).then_some(1));
        }
    }

    #[test]
    fn the_first_chunk_of_a_frame_is_known() {
        let mut frames = Frames::default();
        assert_eq!(frames.first_chunk(), None);
        frames.repeats(br#"{"text":"abc","obfuscation":"de","refusal":"f"}"#);
        assert_eq!(frames.first_chunk(), Some((4, 9)));
    }
}
