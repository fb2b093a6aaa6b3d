//! Decompresses the body of a response: gzip, brotli and zstd (rule F8).
//!
//! `api` calls it for every response. The provider asks for no compression, but some servers and proxies compress anyway.
//! Bytes are passed on as soon as they can be decompressed, so that a compressed stream stays a stream. The bounds of the
//! readers count decompressed bytes.

use std::io;

use async_compression::futures::bufread::{BrotliDecoder, GzipDecoder, ZstdDecoder};
use bytes::Bytes;
use futures_util::{AsyncRead, AsyncReadExt, StreamExt, TryStreamExt, stream};
use http::{
    HeaderMap,
    header::{CONTENT_ENCODING, CONTENT_LENGTH},
};

use crate::{
    error::Error,
    progress::Progress,
    provider::{
        failure::{bad_gateway, excerpt},
        sse::Input,
    },
};

/// Size of the pieces that decompressed bytes are passed on in.
const PIECE: usize = 16 * 1024;

/// Returns the bytes of a body without compression, and removes the headers that describe the compression.
pub(super) fn decoded(headers: &mut HeaderMap, input: Input) -> Result<Input, Error> {
    let Some(encoding) = headers.get(CONTENT_ENCODING) else { return Ok(input) };
    let name = encoding.to_str().unwrap_or("?").trim().to_ascii_lowercase();
    if name.is_empty() || name == "identity" {
        return Ok(input);
    }
    let bytes = || input.map_err(io::Error::other).into_async_read();
    let decoded = match &*name {
        "gzip" | "x-gzip" => {
            let mut decoder = GzipDecoder::new(bytes());
            decoder.multiple_members(true);
            pieces(decoder)
        }
        "br" => pieces(BrotliDecoder::new(bytes())),
        "zstd" => {
            let mut decoder = ZstdDecoder::new(bytes());
            decoder.multiple_members(true);
            pieces(decoder)
        }
        other => {
            return Err(bad_gateway(format_args!(
                "the provider compressed its answer with `{}`, which is not known; gzip, br and zstd are",
                excerpt(other)
            )));
        }
    };
    headers.remove(CONTENT_ENCODING);
    headers.remove(CONTENT_LENGTH);
    Ok(decoded)
}

/// Reads a decoder as a stream, which ends after an error.
fn pieces(decoder: impl AsyncRead + Send + Unpin + 'static) -> Input {
    let read = |mut decoder: Box<dyn AsyncRead + Send + Unpin>| async move {
        let mut piece = vec![0; PIECE];
        match decoder.read(&mut piece).await {
            Ok(0) => Ok(None),
            Ok(length) => {
                piece.truncate(length);
                Ok(Some((Bytes::from(piece), decoder)))
            }
            Err(error) => Err(failed(error)),
        }
    };
    let decoder: Box<dyn AsyncRead + Send + Unpin> = Box::new(decoder);
    stream::try_unfold(decoder, read).boxed()
}

/// The error of a decoder: the connection's own error, or that the bytes are not what the header says.
fn failed(error: io::Error) -> Error {
    let text = error.to_string();
    match error.downcast::<Error>() {
        Ok(error) => error,
        Err(_) => {
            bad_gateway(format_args!("the provider's answer could not be decompressed: {}", excerpt(&text)))
                .with_progress(Progress::Answered)
        }
    }
}
