//! Embeddings without a model: equal texts have equal vectors.
//!
//! `echo.rs` calls it. The vectors have unit length, like OpenAI's. The distance between them has no meaning.

use serde_json::{Value, json};

use super::request::{self, count};

/// The number of dimensions if the request has none.
const DIMENSIONS: u64 = 8;

/// The response to a request for embeddings: vectors as numbers, or in base64 if the request says so, as OpenAI's SDKs
/// do.
pub(super) fn list(body: &Value) -> Value {
    let dimensions = body["dimensions"].as_u64().unwrap_or(DIMENSIONS).clamp(1, 4096);
    let base64 = body["encoding_format"] == "base64";
    let inputs = request::inputs(body);
    let data: Vec<_> = inputs
        .iter()
        .enumerate()
        .map(|(index, input)| {
            let vector = vector(input, dimensions);
            let embedding = if base64 { encode(&vector).into() } else { json!(vector) };
            json!({"object": "embedding", "index": index, "embedding": embedding})
        })
        .collect();
    let words: usize = inputs.iter().map(|input| count(input)).sum();
    json!({
        "object": "list",
        "model": request::model(body),
        "data": data,
        "usage": {"prompt_tokens": words, "total_tokens": words},
    })
}

/// A unit vector derived from a hash of the text (FNV-1a, then one step of splitmix64 for each dimension).
fn vector(text: &str, dimensions: u64) -> Vec<f32> {
    let seed = text.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    let raw: Vec<f32> = (1..=dimensions)
        .map(|dimension| {
            let mut bits = seed.wrapping_add(dimension.wrapping_mul(0x9e37_79b9_7f4a_7c15));
            bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            // An f32 holds 24 bits exactly. No number is zero, so the length is not zero either.
            (((bits >> 40) | 1) as f32) / ((1 << 23) as f32) - 1.0
        })
        .collect();
    let length = raw.iter().map(|x| x * x).sum::<f32>().sqrt();
    raw.into_iter().map(|x| x / length).collect()
}

/// The vector's little-endian bytes in base64 (RFC 4648).
fn encode(vector: &[f32]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let bytes: Vec<u8> = vector.iter().flat_map(|x| x.to_le_bytes()).collect();
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for group in bytes.chunks(3) {
        let bits = (0..3).fold(0, |bits, at| bits << 8 | u32::from(group.get(at).copied().unwrap_or(0)));
        for at in 0..4 {
            let known = at <= group.len();
            text.push(if known { ALPHABET[(bits >> (18 - 6 * at)) as usize & 63].into() } else { '=' });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn vectors_depend_on_the_text_alone_and_have_unit_length() {
        assert_eq!(vector("a", 8), vector("a", 8));
        assert_ne!(vector("a", 8), vector("b", 8));
        for text in ["", "a", "some more words"] {
            for dimensions in [1, 2, 8, 1536] {
                let vector = vector(text, dimensions);
                assert_eq!(vector.len() as u64, dimensions);
                let length: f32 = vector.iter().map(|x| x * x).sum();
                assert!((length - 1.0).abs() < 1e-4, "{length}");
            }
        }
    }

    #[test]
    fn base64_is_that_of_the_rfc() {
        assert_eq!(encode(&[]), "");
        assert_eq!(encode(&[1.0]), "AACAPw==");
        assert_eq!(encode(&[1.0, -2.5]), "AACAPwAAIMA=");
        assert_eq!(encode(&[1.0, -2.5, 0.1]), "AACAPwAAIMDNzMw9");
    }

    #[test]
    fn there_is_an_embedding_for_each_input() {
        for (input, count, words) in [
            (json!("two words"), 1, 2),
            (json!(["two words", "three more words"]), 2, 5),
            (json!([1, 2, 3]), 1, 1),
            (json!([[1, 2], [3]]), 2, 2),
            (json!([]), 0, 0),
            (Value::Null, 0, 0),
        ] {
            let list = list(&json!({"model": "e", "input": input}));
            assert_eq!(list["data"].as_array().unwrap().len(), count, "{input}");
            assert_eq!(list["usage"]["prompt_tokens"], words, "{input}");
            assert_eq!(list["model"], "e");
        }
    }
}
