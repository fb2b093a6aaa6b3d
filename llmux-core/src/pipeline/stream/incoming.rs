//! The chunks as they come from their origin. A chunk that differs from the one before in nothing but texts is known to be
//! JSON, so that a hook that reads the whole of it needs no parser.

use llmux_abi::convert::Frames;

use crate::{document::Document, pipeline::body::Chunk, provider::Event};

/// Makes chunks of events.
pub(super) struct Incoming {
    /// Largest size that an edit of a chunk may produce, in bytes.
    limit: usize,
    /// `None` if no hook reads chunks.
    frames: Option<Frames>,
    /// Whether chunks of this frame are JSON that every reader receives as it came. `None` before the second of them.
    is_json: Option<bool>,
}

impl Incoming {
    pub(super) fn new(limit: usize, is_read: bool) -> Self {
        Self { limit, frames: is_read.then(Frames::default), is_json: None }
    }

    pub(super) fn chunk(&mut self, event: Event) -> Chunk {
        let Some(frames) = &mut self.frames else { return Chunk::new(event, self.limit) };
        if frames.read(&event.data).is_none() {
            self.is_json = None;
            return Chunk::new(event, self.limit);
        }
        let is_clean = |data| Document::parse(data).is_ok_and(|document| document.is_clean());
        match *self.is_json.get_or_insert_with(|| is_clean(event.data.clone())) {
            true => Chunk::of_json(event, self.limit),
            false => Chunk::new(event, self.limit),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns whether the last of these chunks is known to be JSON without a parser, and what a reader of the whole receives.
    fn last(chunks: &[&str]) -> (bool, Option<String>) {
        let mut incoming = Incoming::new(1000, true);
        let event = |data: &&str| Event { name: None, data: (*data).to_owned().into() };
        let chunks: Vec<Chunk> = chunks.iter().map(|data| incoming.chunk(event(data))).collect();
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
