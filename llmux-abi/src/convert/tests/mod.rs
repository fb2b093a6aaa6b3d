//! Tests of the conversions: the chunks of one response each, the joining of deltas, and properties of both directions.

mod joined;
mod properties;
mod sent;

use serde_json::Value;

use super::{Assembler, to_chunk_texts};

/// Returns the response that these chunks form.
fn assembled(chunks: &[Value]) -> Option<Value> {
    let mut assembler = Assembler::new();
    for chunk in chunks {
        assembler.push(chunk);
    }
    assembler.finish()
}

/// Returns a JSON text after the way to chunks and back.
fn there_and_back(response: &str) -> Option<String> {
    let mut assembler = Assembler::new();
    for chunk in to_chunk_texts(response).expect("JSON") {
        assembler.push_text(&chunk).expect("JSON");
    }
    assembler.finish_text()
}
