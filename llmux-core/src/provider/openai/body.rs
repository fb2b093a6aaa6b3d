//! Reads the body of a response, up to a limit.
//!
//! `api` calls it for responses that do not stream, and for errors.

use bytes::{Bytes, BytesMut};
use futures_util::StreamExt;

use crate::{error::Error, provider::sse::Input};

/// The part of a body that could be read.
pub(super) enum ReadBody {
    Whole(Bytes),
    /// The beginning, and the error that ended it. `None` if the body is longer than the limit.
    Cut(Bytes, Option<Error>),
}

/// Reads a body of at most `limit` bytes, of which the provider announced `announced`; 0 if it announced none. A body that
/// arrives in one piece is not copied.
pub(super) async fn read(pieces: &mut Input, announced: usize, limit: usize) -> ReadBody {
    if announced > limit {
        return ReadBody::Cut(Bytes::new(), None);
    }
    let mut body = BodyBuffer::default();
    while let Some(piece) = pieces.next().await {
        match piece {
            Ok(piece) if body.len() + piece.len() > limit => return ReadBody::Cut(body.take(), None),
            Ok(piece) => body.push(piece, announced),
            Err(error) => return ReadBody::Cut(body.take(), Some(error)),
        }
    }
    ReadBody::Whole(body.take())
}

/// The pieces of a body, joined.
enum BodyBuffer {
    One(Bytes),
    Many(BytesMut),
}

impl Default for BodyBuffer {
    fn default() -> Self {
        BodyBuffer::One(Bytes::new())
    }
}

impl BodyBuffer {
    fn len(&self) -> usize {
        match self {
            BodyBuffer::One(piece) => piece.len(),
            BodyBuffer::Many(pieces) => pieces.len(),
        }
    }

    /// Adds a piece of a body that has `announced` bytes according to its `content-length`.
    fn push(&mut self, piece: Bytes, announced: usize) {
        match self {
            BodyBuffer::One(first) if first.is_empty() => *first = piece,
            BodyBuffer::One(first) => {
                // The announced length is used up to a megabyte: a server may announce any length.
                let capacity = announced.min(1 << 20).max(first.len() + piece.len());
                let mut pieces = BytesMut::with_capacity(capacity);
                pieces.extend_from_slice(first);
                pieces.extend_from_slice(&piece);
                *self = BodyBuffer::Many(pieces);
            }
            BodyBuffer::Many(pieces) => pieces.extend_from_slice(&piece),
        }
    }

    fn take(self) -> Bytes {
        match self {
            BodyBuffer::One(piece) => piece,
            BodyBuffer::Many(pieces) => pieces.freeze(),
        }
    }
}
