//! A stream as one answer, for an instance whose manifest says `streams = "whole"` (rule T6).
//!
//! `stream` keeps the chunks here until the stream has ended, and then calls the post hook with the answer that they form.

use llmux_abi::convert::Assembler;
use tokio::time::Instant;

use super::{body::Chunk, config::PipelineConfig};
use crate::document::Document;

/// The chunks that one instance receives as one answer.
pub(super) struct Whole {
    /// The place of the instance in its snapshot.
    at: usize,
    chunks: Vec<Chunk>,
    bytes: usize,
    since: Instant,
    /// True if there were too many: the stream passes.
    passes: bool,
}

/// The result of keeping a chunk.
pub(super) enum Collected {
    Kept,
    /// The chunk goes on.
    Passes,
    /// The answer is too large, or took too long: these chunks go on.
    TooMuch(Vec<Chunk>),
}

impl Whole {
    /// Returns the chunks of an instance.
    pub(super) fn of(wholes: &mut Vec<Self>, at: usize) -> &mut Self {
        let place = wholes.iter().position(|whole| whole.at == at).unwrap_or_else(|| {
            wholes.push(Self { at, chunks: Vec::new(), bytes: 0, since: Instant::now(), passes: false });
            wholes.len() - 1
        });
        &mut wholes[place]
    }

    /// Keeps a chunk.
    pub(super) fn collect(&mut self, chunk: &Chunk, config: &PipelineConfig) -> Collected {
        if self.passes {
            return Collected::Passes;
        }
        self.bytes += chunk.data().len();
        self.chunks.push(chunk.clone());
        if self.bytes <= config.max_whole_stream_bytes && self.since.elapsed() <= config.whole_stream_timeout
        {
            return Collected::Kept;
        }
        self.passes = true;
        Collected::TooMuch(std::mem::take(&mut self.chunks))
    }

    /// Takes the chunks of an instance; `None` if it keeps none.
    pub(super) fn take(wholes: &mut [Self], at: usize) -> Option<Vec<Chunk>> {
        let whole = wholes.iter_mut().find(|whole| whole.at == at)?;
        Some(std::mem::take(&mut whole.chunks)).filter(|chunks| !chunks.is_empty())
    }
}

/// Returns the answer that chunks form; `None` if they form none.
pub(super) fn assembled(chunks: &[Chunk]) -> Option<Document> {
    let mut assembler = Assembler::new();
    for chunk in chunks {
        // A chunk that is not JSON adds nothing to an answer.
        let _ = assembler.push_text(&String::from_utf8_lossy(&chunk.data()));
    }
    Document::parse_lenient(assembler.finish_text()?).ok()
}
