//! Answers of the endpoints without a model's text: moderations, images, rankings and speech.
//!
//! `echo.rs` calls it. Equal requests have equal answers. Nothing is flagged, ranked or drawn: the answers only have the
//! shapes of the API.

use bytes::Bytes;
use futures_util::{StreamExt, stream};
use serde_json::{Value, json};

use super::request;
use crate::provider::Binary;

/// A PNG of one black pixel, in base64.
const PIXEL: &str =
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR4nGNgAAAAAgABSK+kcQAAAABJRU5ErkJggg==";

/// Judges that no input is harmful.
pub(super) fn moderation(body: &Value) -> Value {
    let result = json!({"flagged": false, "categories": {}, "category_scores": {}});
    let results = vec![result; request::inputs(body).len()];
    json!({"id": "modr-echo", "model": request::model(body), "results": results})
}

/// Makes the number of images that the request asks for, at most ten.
pub(super) fn images(body: &Value) -> Value {
    let number = body["n"].as_u64().unwrap_or(1).clamp(1, 10) as usize;
    let image = json!({"b64_json": PIXEL, "revised_prompt": body["prompt"]});
    json!({"created": 0, "data": vec![image; number]})
}

/// Ranks the documents in their own order.
pub(super) fn ranking(body: &Value) -> Value {
    let documents = body["documents"].as_array().map_or(0, Vec::len);
    let most = body["top_n"].as_u64().map_or(documents, |most| documents.min(most as usize));
    let results: Vec<_> =
        (0..most).map(|index| json!({"index": index, "relevance_score": 1.0 / (index + 1) as f64})).collect();
    json!({"id": "rerank-echo", "model": request::model(body), "results": results})
}

/// Speaks the bytes of the input's text.
pub(super) fn speech(body: &Value) -> Binary {
    let text = Bytes::from(body["input"].as_str().unwrap_or_default().to_owned());
    let length = text.len() as u64;
    Binary::new("application/octet-stream", Some(length), stream::iter([Ok(text)]).boxed())
}
