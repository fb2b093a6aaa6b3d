//! An HTTP/1.1 response, read from bytes as they arrive.
//!
//! `load` has one reader for each connection. A client of full generality would cost more than the gateways under test; this
//! one knows `content-length` and chunks, and refuses everything else. Deliberately absent: sockets, and the meaning of a
//! body.

use httparse::Status;

/// Largest response, in bytes.
const MAX_BYTES: usize = 1 << 20;

/// Largest number of headers of a response.
const MAX_HEADERS: usize = 64;

/// The reader of one response after the other.
#[derive(Default)]
pub(crate) struct Answer {
    status: u16,
    is_hit: bool,
    body: Vec<u8>,
    /// Bytes that were not read yet.
    pending: Vec<u8>,
    place: Place,
}

/// The part of a response that the pending bytes begin with.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Place {
    #[default]
    Head,
    /// A body, with the number of bytes that are missing.
    Sized(usize),
    ChunkSize,
    /// A chunk, with the number of bytes that are missing.
    Chunk(usize),
    ChunkEnd,
    /// The empty line after the last chunk.
    Trailer,
    End,
}

impl Answer {
    /// Forgets the last response.
    pub(crate) fn clear(&mut self) {
        self.body.clear();
        self.pending.clear();
        self.place = Place::Head;
        self.is_hit = false;
    }

    /// Status of the response; complete once the head was read.
    pub(crate) fn status(&self) -> u16 {
        self.status
    }

    /// Returns true if the response says that it comes from a cache (`x-cache: hit`).
    pub(crate) fn is_hit(&self) -> bool {
        self.is_hit
    }

    /// The part of the body that has arrived.
    pub(crate) fn body(&self) -> &[u8] {
        &self.body
    }

    /// Reads bytes. Returns true if they complete the response.
    ///
    /// # Errors
    ///
    /// If the bytes are no response that this reader knows, the response is too large, or bytes follow it.
    pub(crate) fn feed(&mut self, bytes: &[u8]) -> Result<bool, String> {
        if self.body.len() + self.pending.len() + bytes.len() > MAX_BYTES {
            return Err(format!("the response is larger than {MAX_BYTES} bytes"));
        }
        let mut pending = std::mem::take(&mut self.pending);
        pending.extend_from_slice(bytes);
        let mut read = 0;
        while let Some(step) = self.step(&pending[read..])? {
            read += step;
        }
        pending.drain(..read);
        self.pending = pending;
        if self.place == Place::End && !self.pending.is_empty() {
            return Err("bytes follow the response".to_owned());
        }
        Ok(self.place == Place::End)
    }

    /// Reads one part. Returns its length, or `None` if a part needs more bytes, or the response is complete.
    fn step(&mut self, rest: &[u8]) -> Result<Option<usize>, String> {
        let (step, next) = match self.place {
            Place::End => return Ok(None),
            _ if rest.is_empty() => return Ok(None),
            Place::Head => match self.head(rest)? {
                Some(head) => head,
                None => return Ok(None),
            },
            Place::Sized(missing) => {
                let step = self.take(rest, missing);
                (step, if step == missing { Place::End } else { Place::Sized(missing - step) })
            }
            Place::ChunkSize => match httparse::parse_chunk_size(rest) {
                Ok(Status::Complete((step, 0))) => (step, Place::Trailer),
                Ok(Status::Complete((step, size))) => {
                    (step, Place::Chunk(usize::try_from(size).map_err(|_| "a chunk is too large")?))
                }
                Ok(Status::Partial) => return Ok(None),
                Err(_) => return Err("the size of a chunk is not a number".to_owned()),
            },
            Place::Chunk(missing) => {
                let step = self.take(rest, missing);
                (step, if step == missing { Place::ChunkEnd } else { Place::Chunk(missing - step) })
            }
            Place::ChunkEnd | Place::Trailer => match rest {
                [b'\r', b'\n', ..] if self.place == Place::Trailer => (2, Place::End),
                [b'\r', b'\n', ..] => (2, Place::ChunkSize),
                [b'\r'] => return Ok(None),
                _ => return Err("a chunk does not end with its line".to_owned()),
            },
        };
        self.place = next;
        Ok(Some(step))
    }

    /// Adds at most `missing` bytes to the body.
    fn take(&mut self, rest: &[u8], missing: usize) -> usize {
        let step = rest.len().min(missing);
        self.body.extend_from_slice(&rest[..step]);
        step
    }

    fn head(&mut self, rest: &[u8]) -> Result<Option<(usize, Place)>, String> {
        let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
        let mut head = httparse::Response::new(&mut headers);
        let Status::Complete(step) =
            head.parse(rest).map_err(|error| format!("the head is not HTTP: {error}"))?
        else {
            return Ok(None);
        };
        self.status = head.code.unwrap_or_default();
        let mut place = None;
        for header in head.headers.iter() {
            let is = |name: &str| header.name.eq_ignore_ascii_case(name);
            if is("content-length") {
                let length = std::str::from_utf8(header.value).ok().and_then(|value| value.parse().ok());
                place = Some(Place::Sized(length.ok_or("the content-length is not a number")?));
            } else if is("transfer-encoding") && header.value.eq_ignore_ascii_case(b"chunked") {
                place = Some(Place::ChunkSize);
            } else if is("x-cache") {
                self.is_hit = header.value == b"hit";
            }
        }
        let place = place.ok_or("the response has neither a content-length nor chunks")?;
        Ok(Some((step, if place == Place::Sized(0) { Place::End } else { place })))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIZED: &str = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nx-cache: hit\r\n\r\nhello";
    const CHUNKED: &str = "HTTP/1.1 503 No\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\nB;a=b\r\n beautiful \r\n0\r\n\r\n";

    #[test]
    fn a_response_is_read_wherever_the_pieces_end() {
        for (response, status, body, is_hit) in
            [(SIZED, 200, "hello", true), (CHUNKED, 503, "hello beautiful ", false)]
        {
            for size in 1..=response.len() {
                let mut answer = Answer::default();
                let pieces: Vec<&[u8]> = response.as_bytes().chunks(size).collect();
                let (last, first) = pieces.split_last().expect("a piece");
                for piece in first {
                    assert_eq!(answer.feed(piece), Ok(false), "{size}");
                }
                assert_eq!(answer.feed(last), Ok(true), "{size}");
                assert_eq!(
                    (answer.status(), answer.body(), answer.is_hit()),
                    (status, body.as_bytes(), is_hit)
                );
            }
        }
    }

    #[test]
    fn a_reader_reads_one_response_after_the_other() {
        let mut answer = Answer::default();
        for response in [SIZED, CHUNKED, SIZED] {
            answer.clear();
            assert_eq!(answer.feed(response.as_bytes()), Ok(true));
        }
        assert_eq!((answer.status(), answer.body()), (200, &b"hello"[..]));
    }

    #[test]
    fn bytes_that_are_no_response_are_refused() {
        for (bytes, error) in [
            ("SSH-2.0\r\n\r\n", "the head is not HTTP"),
            ("HTTP/1.1 200 OK\r\n\r\n", "neither"),
            ("HTTP/1.1 200 OK\r\ncontent-length: x\r\n\r\n", "not a number"),
            ("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nx\r\n", "the size of a chunk"),
            ("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\nabc", "does not end"),
            ("HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\nab", "bytes follow"),
        ] {
            let found = Answer::default().feed(bytes.as_bytes()).expect_err(bytes);
            assert!(found.contains(error), "{bytes:?}: {found}");
        }
        let mut answer = Answer::default();
        assert_eq!(answer.feed(b"HTTP/1.1 200 OK\r\ncontent-length: 9000000\r\n\r\n"), Ok(false));
        assert!(answer.feed(&vec![b'a'; MAX_BYTES + 1]).expect_err("a large response").contains("larger"));
    }
}
