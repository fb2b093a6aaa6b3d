//! The knowledge about chunks that differ from the chunk before in texts alone: they are JSON, and the place of their text is
//! known, so that they are read without a parser.

use bytes::Bytes;

use super::{
    places::{self, Key},
    subject::Channel,
};
use crate::{
    document::Document,
    pipeline::{choices::finished, usage::states_usage},
};

/// Chunks that differ in texts alone, and are JSON that every reader receives as it came.
#[derive(Debug)]
pub(crate) struct Frame {
    /// True if the chunks may state the usage.
    pub(crate) states_usage: bool,
    pub(super) text: Option<OnlyText>,
}

/// The one text of the chunks of a frame.
#[derive(Debug)]
pub(super) struct OnlyText {
    /// The place of its value, in bytes from the beginning of a chunk.
    start: usize,
    pub(super) pointer: String,
    pub(super) key: Key,
    pub(super) channel: Channel,
}

impl Frame {
    /// Returns the frame of a chunk; `None` if it is not JSON, or not all of it is received as it came. Its text is found if the
    /// place from which the chunk differs from the first chunk of its frame is given.
    pub(crate) fn of(chunk: Bytes, differs_from: Option<usize>) -> Option<Self> {
        let states_usage = states_usage(&chunk);
        let chunk = Document::parse(chunk).ok().filter(Document::is_clean)?;
        let text = differs_from.and_then(|start| OnlyText::of(&chunk).filter(|text| text.start < start));
        Some(Self { states_usage, text })
    }

    /// Returns true if no text before the known one differs in another chunk, so that it has the same place.
    pub(crate) fn has_place(&self, start: usize) -> bool {
        self.text.as_ref().is_none_or(|text| text.start < start)
    }
}

impl OnlyText {
    /// Returns `None` if the chunk has no text, several, or one of a tool, or if a choice ends with it.
    fn of(chunk: &Document) -> Option<Self> {
        let places = places::of_chunk(chunk);
        let [place] = places.as_slice() else { return None };
        let is_plain = place.channel != Channel::Arguments && finished(chunk).is_empty();
        let start = chunk.start(&place.pointer).filter(|_| is_plain)?;
        Some(Self { start, pointer: place.pointer.clone(), key: place.key, channel: place.channel })
    }

    /// Reads the text of a chunk; `None` if it has escapes.
    pub(super) fn read<'c>(&self, chunk: &'c [u8]) -> Option<&'c str> {
        let text = chunk.get(self.start..)?.strip_prefix(b"\"")?;
        let end = memchr::memchr2(b'"', b'\\', text).filter(|end| text[*end] == b'"')?;
        str::from_utf8(&text[..end]).ok()
    }
}

#[cfg(test)]
mod tests {
    use llmux_abi::convert::Frames;

    use super::*;

    /// Returns the texts of chunks that are read without a parser; `None` for each chunk that needs one.
    fn read(chunks: &[String]) -> Vec<Option<String>> {
        let (mut frames, mut frame) = (Frames::default(), None);
        let mut text = |chunk: &String| {
            let Some(repeat) = frames.read(chunk.as_bytes()) else {
                frame = None;
                return None;
            };
            let frame = frame.get_or_insert_with(|| Frame::of(chunk.clone().into(), Some(repeat.start)));
            let frame = frame.as_ref().filter(|frame| frame.has_place(repeat.start))?;
            frame.text.as_ref()?.read(chunk.as_bytes()).map(str::to_owned)
        };
        chunks.iter().map(&mut text).collect()
    }

    #[test]
    fn t2_a_text_in_a_known_frame_is_the_one_that_a_parser_finds() {
        let delta = |before: &str, text: &str, after: &str| {
            format!(
                r#"{{"obfuscation":"{before}","choices":[{{"index":1,"delta":{{"content": "{text}"}}{after}}}]}}"#
            )
        };
        let plain = |text: &str| delta("", text, "");
        for (chunks, expected) in [
            (
                vec![plain("a"), plain("b"), plain(""), plain("çd")],
                vec![None, Some("b"), Some(""), Some("çd")],
            ),
            (vec![plain("a"), plain("a"), plain("b")], vec![None, Some("a"), Some("b")]),
            // A text that did not differ may have escapes.
            (vec![plain("\\n"), plain("\\n")], vec![None, None]),
            // The place of the text moves.
            (
                vec![delta("abcdefghij", "a", ""), delta("a", "a", ""), delta("abcdefghij", "b", "")],
                vec![None; 3],
            ),
            (vec![plain("a"), plain("b"), delta("x", "c", "")], vec![None, Some("b"), None]),
            // A choice ends.
            (
                vec![
                    delta("", "a", r#","finish_reason":"stop""#),
                    delta("", "b", r#","finish_reason":"stop""#),
                ],
                vec![None; 2],
            ),
            // Two texts.
            (vec![delta("", "a", r#","text":"t""#), delta("", "b", r#","text":"t""#)], vec![None; 2]),
            // Not clean: a member stands twice.
            (vec![delta("", "a", r#","index":2"#), delta("", "b", r#","index":2"#)], vec![None; 2]),
        ] {
            let found = read(&chunks);
            let found: Vec<_> = found.iter().map(Option::as_deref).collect();
            assert_eq!(found, expected, "{chunks:?}");
        }
        let arguments = |text: &str| {
            format!(
                r#"{{"content":"{text}","choices":[{{"delta":{{"tool_calls":[{{"function":{{"arguments":"{{"}}}}]}}}}]}}"#
            )
        };
        assert_eq!(read(&[arguments("a"), arguments("b")]), [None, None]);
    }
}
