//! Reader of JSON bodies: checks the type, bounds the size while the body arrives, and times out silent clients.
//!
//! Both listeners call it. A body that arrives in one piece without compression is not copied.

use std::{io, time::Duration};

use axum::body::Body;
use bytes::{Bytes, BytesMut};
use futures_util::{
    TryStreamExt,
    stream::{self, BoxStream},
};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use http_body_util::BodyExt;
use llmux_core::Error;
use tokio::time::{Instant, timeout_at};

use super::{
    encoding::{decompress, encoding},
    held_bytes::Held,
    reply::refusal,
};

/// Longest time to drain a refused body, so that a client that is still writing receives the response instead of a reset.
const LINGER: Duration = Duration::from_secs(2);
/// Largest number of bytes to drain from a refused body.
const LINGER_BYTES: usize = 64 * 1024 * 1024;

/// Checks that the headers announce a JSON body in UTF-8. If `lenient`, a body without a type counts as JSON.
///
/// # Errors
///
/// 415 if the type is not JSON, or the body has another charset or an unknown encoding.
pub(crate) fn check_type(headers: &HeaderMap, lenient: bool) -> Result<(), Error> {
    let text = |value: &HeaderValue| value.to_str().unwrap_or("?").to_owned();
    let unsupported =
        |what: String| Err(refusal(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported_type", what));
    if !lenient && !headers.contains_key(header::CONTENT_TYPE) {
        return unsupported("the body needs `content-type: application/json`".to_owned());
    }
    for given in headers.get_all(header::CONTENT_TYPE).iter().map(text) {
        let media_type = given.split(';').next().unwrap_or_default().trim();
        if !media_type.eq_ignore_ascii_case("application/json") {
            return unsupported(format!(
                "the body must be JSON, with `content-type: application/json` instead of `{given}`"
            ));
        }
        if let Some(charset) = charset(&given)
            && !["utf-8", "utf8", "us-ascii"].iter().any(|it| charset.eq_ignore_ascii_case(it))
        {
            return unsupported(format!("JSON is in UTF-8; send the body in `utf-8` instead of `{charset}`"));
        }
    }
    encoding(headers).map(drop)
}

/// Returns the charset that a content type names.
fn charset(content_type: &str) -> Option<&str> {
    content_type.split(';').skip(1).find_map(|parameter| {
        let (name, value) = parameter.split_once('=')?;
        name.trim().eq_ignore_ascii_case("charset").then(|| value.trim().trim_matches('"'))
    })
}

/// Reads the whole body, and decompresses it if the headers say so.
///
/// # Errors
///
/// 413 if the body is larger than `limit` bytes, compressed or not; 408 if the client sends nothing for `silence` or less
/// than 1 KiB/s after 30 s; 503 if all requests hold too many bytes; 400 if the body breaks off or cannot be decompressed.
pub(crate) async fn read(
    headers: &HeaderMap,
    mut body: Body,
    limit: usize,
    silence: Duration,
    held: &mut Held,
) -> Result<Bytes, Error> {
    let encoding = encoding(headers)?;
    let announced = headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok());
    let announced: usize = announced.unwrap_or(0);
    if announced > limit {
        discard(headers, body).await;
        return Err(Error::request_too_large(limit));
    }
    let mut arriving = Arriving { body: &mut body, silence, begun: Instant::now(), bytes: 0, is_over: false };
    let mut whole = Whole { first: Bytes::new(), rest: BytesMut::new(), announced, limit, held };
    let result = match encoding {
        None => loop {
            match arriving.next().await {
                Ok(Some(data)) => match whole.add(data) {
                    Ok(()) => {}
                    Err(error) => break Err(error),
                },
                Ok(None) => break Ok(()),
                Err(error) => break Err(error),
            }
        },
        Some(encoding) => {
            decompress(encoding, arriving.pieces().into_async_read(), |piece| whole.add(piece)).await
        }
    };
    if let Err(error) = result {
        let is_over = arriving.is_over;
        if !is_over {
            linger(body).await;
        }
        return Err(error);
    }
    Ok(whole.finish())
}

/// A body that arrives.
struct Arriving<'b> {
    body: &'b mut Body,
    silence: Duration,
    begun: Instant,
    /// Number of bytes so far.
    bytes: usize,
    /// True once no more bytes come.
    is_over: bool,
}

impl<'b> Arriving<'b> {
    /// Returns the rest of the body as a stream.
    fn pieces<'a>(&'a mut self) -> BoxStream<'a, io::Result<Bytes>>
    where
        'b: 'a,
    {
        let next = |arriving: &'a mut Self| async move {
            let piece = arriving.next().await.map_err(io::Error::other)?;
            Ok(piece.map(|piece| (piece, arriving)))
        };
        Box::pin(stream::try_unfold(self, next))
    }

    /// Returns the next bytes; `None` at the end.
    async fn next(&mut self) -> Result<Option<Bytes>, Error> {
        let end = (Instant::now() + self.silence).min(self.begun + least_rate(self.bytes));
        self.is_over = true;
        let frame = timeout_at(end, self.body.frame()).await.map_err(|_| {
            let message = "the rest of the body did not arrive in time";
            refusal(StatusCode::REQUEST_TIMEOUT, "body_timeout", message)
        })?;
        let Some(frame) = frame else { return Ok(None) };
        let frame = frame.map_err(|error| {
            refusal(StatusCode::BAD_REQUEST, "broken_body", format!("the body broke off: {error}"))
        })?;
        self.is_over = false;
        let data = frame.into_data().unwrap_or_default();
        self.bytes += data.len();
        Ok(Some(data))
    }
}

/// A body that is collected, within its limits.
struct Whole<'h> {
    first: Bytes,
    rest: BytesMut,
    announced: usize,
    limit: usize,
    held: &'h mut Held,
}

impl Whole<'_> {
    fn add(&mut self, data: Bytes) -> Result<(), Error> {
        if self.first.len() + self.rest.len() + data.len() > self.limit {
            return Err(Error::request_too_large(self.limit));
        }
        self.held.add(data.len())?;
        match (self.first.is_empty() && self.rest.is_empty(), self.rest.is_empty()) {
            (true, _) => self.first = data,
            (false, true) => {
                // An announced length is trusted up to a megabyte, because it costs the sender nothing.
                self.rest.reserve(self.announced.min(1 << 20).max(self.first.len() + data.len()));
                self.rest.extend_from_slice(&std::mem::take(&mut self.first));
                self.rest.extend_from_slice(&data);
            }
            (false, false) => self.rest.extend_from_slice(&data),
        }
        Ok(())
    }

    fn finish(self) -> Bytes {
        if self.rest.is_empty() { self.first } else { self.rest.freeze() }
    }
}

/// Returns the time in which this many bytes must have arrived: 30 s, and a second for each KiB.
fn least_rate(bytes: usize) -> Duration {
    Duration::from_secs(30) + Duration::from_millis(bytes as u64 * 1000 / 1024)
}

/// Discards a body that is refused before it is read.
pub(crate) async fn discard(headers: &HeaderMap, body: Body) {
    // A client that sent `expect` waits for permission and has sent no body yet.
    if !headers.contains_key(header::EXPECT) {
        linger(body).await;
    }
}

/// Drains the rest of a body, within the limits of time and size.
async fn linger(mut body: Body) {
    let end = Instant::now() + LINGER;
    let mut taken = 0;
    while let Ok(Some(Ok(frame))) = timeout_at(end, body.frame()).await {
        taken += frame.data_ref().map_or(0, Bytes::len);
        if taken > LINGER_BYTES {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use async_compression::{
        codecs::zstd::params::CParameter,
        futures::bufread::{GzipEncoder, ZstdEncoder},
    };
    use futures_util::AsyncReadExt;

    use super::{super::held_bytes::HeldBytes, *};

    const LIMIT: usize = 1 << 20;

    async fn compressed(encoding: &str, data: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        let done = match encoding {
            "gzip" => GzipEncoder::new(data).read_to_end(&mut out).await,
            _ => ZstdEncoder::new(data).read_to_end(&mut out).await,
        };
        done.expect("compressed");
        out
    }

    /// Reads a body that arrives in pieces. Returns it, or the status and the code of the error.
    async fn read_pieces(encoding: &str, sent: &[u8]) -> Result<Bytes, (u16, String)> {
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_ENCODING, encoding.parse().expect("a header"));
        let pieces: Vec<_> =
            sent.chunks(1000).map(|piece| Ok::<_, io::Error>(Bytes::copy_from_slice(piece))).collect();
        let body = Body::from_stream(stream::iter(pieces));
        let mut held = Arc::<HeldBytes>::default().share(usize::MAX);
        let read = read(&headers, body, LIMIT, Duration::from_secs(30), &mut held).await;
        read.map_err(|error| (error.status(), error.code().unwrap_or_default().to_owned()))
    }

    #[tokio::test]
    async fn a_compressed_body_is_read_and_the_limit_is_that_of_what_comes_out() {
        let text = b"{\"model\": \"m\"}".repeat(10_000);
        for encoding in ["gzip", "zstd"] {
            let sent = compressed(encoding, &text).await;
            assert_eq!(read_pieces(encoding, &sent).await.expect("read"), text, "{encoding}");
            let two = [compressed(encoding, &text).await, compressed(encoding, b" ").await].concat();
            let both = read_pieces(encoding, &two).await.expect("two members");
            assert_eq!(both.len(), text.len() + 1, "{encoding}");
            let exact = compressed(encoding, &vec![b' '; LIMIT]).await;
            assert_eq!(read_pieces(encoding, &exact).await.expect("at the limit").len(), LIMIT);
            let bomb = compressed(encoding, &vec![0; 64 * LIMIT]).await;
            let too_large = Err((413, "request_too_large".to_owned()));
            assert!(bomb.len() < LIMIT, "{}", bomb.len());
            assert_eq!(read_pieces(encoding, &bomb).await, too_large, "{encoding}");
        }
    }

    #[tokio::test]
    async fn data_that_is_not_what_the_encoding_says_is_refused() {
        let text = b"{\"model\": \"m\"}".repeat(10_000);
        let broken = Err((400, "broken_encoding".to_owned()));
        for (encoding, other) in [("gzip", "zstd"), ("zstd", "gzip")] {
            let sent = compressed(encoding, &text).await;
            assert_eq!(read_pieces(encoding, &text).await, broken, "{encoding}: plain");
            assert_eq!(read_pieces(other, &sent).await, broken, "{encoding} as {other}");
            assert_eq!(read_pieces(encoding, &sent[..sent.len() - 9]).await, broken, "{encoding}: truncated");
            let more = [&sent[..], b"more"].concat();
            assert_eq!(read_pieces(encoding, &more).await, broken, "{encoding}: with more at the end");
        }
    }

    #[tokio::test]
    async fn a_window_of_zstd_that_takes_more_memory_than_http_allows_is_refused() {
        let text = b"a".repeat(1000);
        for (log, expected) in [(23, true), (24, false), (27, false)] {
            let mut sent = Vec::new();
            let parameters = [CParameter::window_log(log), CParameter::content_size_flag(false)];
            let mut encoder = ZstdEncoder::with_quality_and_params(
                &text[..],
                async_compression::Level::Default,
                &parameters,
            );
            encoder.read_to_end(&mut sent).await.expect("compressed");
            assert_eq!(read_pieces("zstd", &sent).await.is_ok(), expected, "a window of 2^{log} bytes");
        }
    }

    #[test]
    fn json_is_in_utf_8() {
        for (given, expected) in [
            ("application/json", true),
            ("application/json; charset=utf-8", true),
            ("application/json;charset=\"UTF-8\"", true),
            ("APPLICATION/JSON ; a=b; Charset = utf8", true),
            ("application/json; charset=iso-8859-1", false),
            ("application/json; charset=utf-16le", false),
            ("text/plain; charset=utf-8", false),
        ] {
            let headers = [(header::CONTENT_TYPE, HeaderValue::from_static(given))].into_iter().collect();
            let checked = check_type(&headers, true);
            assert_eq!(checked.is_ok(), expected, "{given}");
            let status = checked.err().map_or(415, |error| error.status());
            assert_eq!(status, 415, "{given}");
        }
    }
}
