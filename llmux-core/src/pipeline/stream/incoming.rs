//! The chunks as they come from their origin. A chunk that differs from the one before in nothing but texts has the same
//! frame, so that hooks read it without a parser.

use std::sync::Arc;

use llmux_abi::convert::{Frames, Repeat};

use crate::{
    pipeline::{body::Chunk, kind::HookKind, text::Frame},
    provider::Event,
};

/// Makes chunks of events.
pub(super) struct Incoming {
    /// Largest size that an edit of a chunk may produce, in bytes.
    limit: usize,
    /// True if hooks read chunks.
    has_chunks: bool,
    /// True if hooks read the texts of chunks.
    has_texts: bool,
    /// `None` if nothing reads chunks.
    frames: Option<Frames>,
    /// The frame of the last chunk, if it can be read without a parser. The outer `None` stands before the second chunk.
    frame: Option<Option<Arc<Frame>>>,
}

impl Incoming {
    /// `is_measured` is true if the usage of chunks is read.
    pub(super) fn new(limit: usize, has: impl Fn(HookKind) -> bool, is_measured: bool) -> Self {
        let (has_chunks, has_texts) = (has(HookKind::Chunk), has(HookKind::Text));
        let frames = (has_chunks || has_texts || is_measured).then(Frames::default);
        Self { limit, has_chunks, has_texts, frames, frame: None }
    }

    /// Returns the largest size that an edit of a chunk may produce, in bytes.
    pub(super) fn limit(&self) -> usize {
        self.limit
    }

    /// Compares an event with the one before. Returns `None` if it begins another frame, or if nothing reads chunks.
    pub(super) fn repeat(&mut self, data: &[u8]) -> Option<Repeat> {
        self.frames.as_mut()?.read(data)
    }

    /// Makes the chunk of an event. `repeat` is set if it repeats the frame of the event before.
    pub(super) fn chunk(&mut self, event: Event, repeat: Option<Repeat>) -> Chunk {
        let Some(repeat) = repeat.filter(|_| self.has_chunks || self.has_texts) else {
            self.frame = None;
            return Chunk::new(event, self.limit);
        };
        let frame = self.frame.get_or_insert_with(|| {
            Frame::of(event.data.clone(), self.has_texts.then_some(repeat.start)).map(Arc::new)
        });
        match frame.clone().filter(|frame| frame.has_place(repeat.start)) {
            Some(frame) => Chunk::of_frame(event, self.limit, frame),
            None => Chunk::new(event, self.limit),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::document::Document;

    /// Returns whether the last of these chunks is known to be JSON without a parser, and what a reader of the whole receives.
    fn last(chunks: &[&str]) -> (bool, Option<String>) {
        let mut incoming = Incoming::new(1000, |hook| hook == HookKind::Chunk, false);
        let event = |data: &&str| Event { name: None, data: (*data).to_owned().into() };
        let mut chunk = |data: &&str| {
            let repeat = incoming.repeat(data.as_bytes());
            incoming.chunk(event(data), repeat)
        };
        let chunks: Vec<Chunk> = chunks.iter().map(&mut chunk).collect();
        let chunk = chunks.last().expect("a chunk");
        let whole = chunk.body.get("").map(str::to_owned);
        (!chunk.body.is_parsed(), whole)
    }

    #[test]
    fn s3_a_reader_of_a_chunk_in_a_known_frame_receives_what_a_parser_gives() {
        let irregular = r#"{"n":NaN,"content":"a"}"#;
        for (chunks, is_known) in [
            (&[r#" {"content":"a"}"#, r#" {"content":"b"}"#][..], true),
            (&[r#"{"content":"a"}"#, r#"{"content":"b"}"#, r#"{"content":"c\n"}"#], false),
            (&[r#"{"content":"a"}"#], false),
            (&[r#"{"a":1,"a":2,"content":"a"}"#, r#"{"a":1,"a":2,"content":"b"}"#], false),
            (&[irregular, irregular], false),
            (&[r#"{"content":"a""#, r#"{"content":"b""#], false),
            (&[r#"{"content":"a"}"#, r#"{"content":"b"}"#, r#"{"x":"a","content":"b"}"#], false),
        ] {
            let (known, whole) = last(chunks);
            let data = (*chunks.last().expect("a chunk")).to_owned();
            let parsed = Document::parse_lenient(data).ok();
            assert_eq!(
                (known, whole.as_deref()),
                (is_known, parsed.as_ref().and_then(|it| it.get(""))),
                "{chunks:?}"
            );
        }
    }
}
