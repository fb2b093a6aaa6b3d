//! Conversions of a response into chunks, and of chunks into a response, for every endpoint that streams.
//!
//! Used by the host (for a response to a streaming request) and by plugins (for a cache that answers both kinds of
//! request from one response). A stream has the chunks that a provider sends for such a response, so that the stream helpers
//! of a client read it. Unknown members are kept if the stream's format has a place for them. Any JSON is converted somehow:
//! a value of an unexpected kind passes unchanged.
//!
//! * `choices`, `events`: a response as chunks, on the endpoints with choices and on the responses endpoint.
//! * `assemble`: chunks as a response. `merge`: the rules of joining their texts, labels and tool calls.
//! * `frame`: chunks that differ in the texts of the model alone.
//! * `tree`: JSON whose numbers keep their digits.

mod assemble;
mod choices;
mod events;
mod frame;
mod merge;
mod tree;

use serde_json::Value;

use self::tree::Tree;
pub use self::{
    assemble::Assembler,
    frame::{Frames, Repeat},
};

/// Returns the chunks of a stream equal to a response. Each chunk is an event's data; on the responses endpoint its
/// `type` is also the event's name. The usage, if known, is a separate chunk at the end.
pub fn to_chunks(response: &Value) -> Vec<Value> {
    chunks_of(&response.into()).iter().map(Tree::to_value).collect()
}

/// Returns the chunks as [`to_chunks`] does, from JSON text to JSON texts. Every number keeps its digits.
///
/// # Errors
///
/// If the text is not JSON.
pub fn to_chunk_texts(response: &str) -> serde_json::Result<Vec<String>> {
    Ok(chunks_of(&Tree::parse(response)?).iter().map(Tree::to_text).collect())
}

fn chunks_of(response: &Tree) -> Vec<Tree> {
    match response["object"].as_str() {
        Some("response") => events::events(response),
        _ => choices::chunks(response),
    }
}

#[cfg(test)]
mod tests;
