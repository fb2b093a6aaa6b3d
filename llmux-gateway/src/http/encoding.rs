//! Compressed bodies of requests: gzip and zstd.
//!
//! `body` reads through it. Bytes are decompressed as they arrive, in small pieces, so that neither the compressed body nor
//! more than the limit of the decompressed one is ever in memory. Deliberately absent: the bound on the size, which `body`
//! has, and compressed answers.

use std::io;

use async_compression::{
    codecs::zstd::params::DParameter,
    futures::bufread::{GzipDecoder, ZstdDecoder},
};
use bytes::Bytes;
use futures_util::{AsyncBufRead, AsyncRead, AsyncReadExt};
use http::{HeaderMap, StatusCode, header};
use llmux_core::Error;

use super::reply::refusal;

/// Names of the encodings, as `accept-encoding` lists them.
pub(crate) const ACCEPTED: &str = "gzip, zstd";
/// Size of the pieces that decompressed bytes are passed on in.
const PIECE: usize = 16 * 1024;
/// Largest window of zstd, as a power of two: 8 MiB, which is the largest in HTTP (RFC 9659).
const WINDOW_LOG: u32 = 23;

/// Compression of a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Encoding {
    Gzip,
    Zstd,
}

/// Returns the compression that the headers announce; `None` for none.
///
/// # Errors
///
/// 415 if it is not one that is accepted, or there are several.
pub(crate) fn encoding(headers: &HeaderMap) -> Result<Option<Encoding>, Error> {
    let mut found = None;
    let values = headers.get_all(header::CONTENT_ENCODING).iter();
    for name in values.flat_map(|value| value.to_str().unwrap_or("?").split(',')).map(str::trim) {
        let encoding = match &*name.to_ascii_lowercase() {
            "" | "identity" => continue,
            "gzip" | "x-gzip" => Encoding::Gzip,
            "zstd" => Encoding::Zstd,
            _ => return Err(unsupported(format_args!("the encoding `{name}` is not supported"))),
        };
        if found.replace(encoding).is_some() {
            return Err(unsupported(format_args!("a body is compressed at most once")));
        }
    }
    Ok(found)
}

fn unsupported(why: std::fmt::Arguments<'_>) -> Error {
    let message = format!("{why}; the accepted encodings are {ACCEPTED}, or none");
    refusal(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported_encoding", message)
}

/// Decompresses `input`, and passes each piece to `take`.
///
/// # Errors
///
/// The first error of `input` or `take`; 400 if the data is not what the encoding says, or ends too early.
pub(super) async fn decompress(
    encoding: Encoding,
    input: impl AsyncBufRead + Send + Unpin,
    mut take: impl FnMut(Bytes) -> Result<(), Error>,
) -> Result<(), Error> {
    let mut decoder: Box<dyn AsyncRead + Send + Unpin + '_> = match encoding {
        Encoding::Gzip => {
            let mut decoder = GzipDecoder::new(input);
            decoder.multiple_members(true);
            Box::new(decoder)
        }
        Encoding::Zstd => {
            let mut decoder = ZstdDecoder::with_params(input, &[DParameter::window_log_max(WINDOW_LOG)]);
            decoder.multiple_members(true);
            Box::new(decoder)
        }
    };
    let mut piece = vec![0; PIECE];
    loop {
        match decoder.read(&mut piece).await {
            Ok(0) => return Ok(()),
            Ok(length) => take(Bytes::copy_from_slice(&piece[..length]))?,
            Err(error) => return Err(broken(encoding, error)),
        }
        // Much may come out of few bytes that are here already, so that nothing else waits.
        tokio::task::yield_now().await;
    }
}

/// The error of a decoder: the reader's own, or that the bytes are not what the header says.
fn broken(encoding: Encoding, error: io::Error) -> Error {
    let name = match encoding {
        Encoding::Gzip => "gzip",
        Encoding::Zstd => "zstd",
    };
    match error.downcast::<Error>() {
        Ok(error) => error,
        Err(error) => {
            let message = format!("the body is no {name}, as `content-encoding` says: {error}");
            refusal(StatusCode::BAD_REQUEST, "broken_encoding", message)
        }
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn an_encoding_is_known_and_there_is_at_most_one() {
        let of = |values: &[&'static str]| {
            let named = values.iter().map(|it| (header::CONTENT_ENCODING, HeaderValue::from_static(it)));
            encoding(&named.collect()).map_err(|error| error.status())
        };
        for (values, expected) in [
            (&[][..], Ok(None)),
            (&[""], Ok(None)),
            (&["Identity"], Ok(None)),
            (&["gzip"], Ok(Some(Encoding::Gzip))),
            (&["X-GZIP"], Ok(Some(Encoding::Gzip))),
            (&["identity, zstd"], Ok(Some(Encoding::Zstd))),
            (&["br"], Err(415)),
            (&["deflate"], Err(415)),
            (&["gzip, gzip"], Err(415)),
            (&["gzip", "zstd"], Err(415)),
        ] {
            assert_eq!(of(values), expected, "{values:?}");
        }
        let named = [(header::CONTENT_ENCODING, HeaderValue::from_static("br"))].into_iter().collect();
        let message = encoding(&named).expect_err("unsupported").message().to_owned();
        assert!(message.contains("`br`") && message.contains(ACCEPTED), "{message}");
    }
}
