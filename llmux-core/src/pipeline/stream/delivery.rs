//! Gives a stream to its reader: the head, then each chunk, as fast as it reads.

use std::{pin::pin, sync::atomic::Ordering::Relaxed};

use tokio::sync::mpsc::error::TrySendError;

use super::Streaming;
use crate::{
    error::Error,
    pipeline::{body::Chunk, stream_item::StreamItem, usage::states_usage},
};

impl Streaming<'_> {
    /// Sends a chunk if its stream has begun and the reader has room, without a future. Returns the chunk if not.
    pub(super) fn send_now(&mut self, chunk: Chunk) -> Result<Option<Chunk>, Error> {
        if !self.attempt.begun {
            return Ok(Some(chunk));
        }
        match self.reader.try_reserve() {
            Ok(place) => place.send(StreamItem::Chunk(chunk)),
            Err(TrySendError::Full(())) => return Ok(Some(chunk)),
            Err(TrySendError::Closed(())) => return Err(Error::cancelled()),
        }
        self.attempt.chunks += 1;
        Ok(None)
    }

    /// Sends a chunk to the reader, as fast as it reads.
    pub(super) async fn send(&mut self, chunk: Chunk) -> Result<(), Error> {
        self.begin().await?;
        if self.attempt.first_chunk.is_none() {
            self.attempt.first_chunk = Some(self.request.context.started.elapsed());
        }
        self.attempt.chunks += 1;
        self.give(StreamItem::Chunk(chunk)).await
    }

    /// Returns true if the reader does not receive a chunk, because it has not asked for the usage.
    pub(super) fn withholds(&self, chunk: &Chunk) -> bool {
        !self.wants_usage && self.request.context.endpoint.ends_with_done() && is_usage_only(chunk)
    }

    /// Sends the start of the stream, once.
    pub(super) async fn begin(&mut self) -> Result<(), Error> {
        if !self.attempt.begun {
            let head = self.request.head();
            self.request.shared.dropped_headers.fetch_add(self.early.missing(&head.headers), Relaxed);
            self.give(StreamItem::Start(head)).await?;
            self.attempt.begun = true;
        }
        Ok(())
    }

    async fn give(&mut self, item: StreamItem) -> Result<(), Error> {
        let given = self.request.cancel.guard(pin!(self.reader.send(item))).await?;
        given.map_err(|_| Error::cancelled())
    }
}

/// Returns true if the chunk only states the usage (rule S8).
fn is_usage_only(chunk: &Chunk) -> bool {
    let may_state = match chunk.body.frame() {
        Some((frame, _)) => frame.states_usage,
        None => states_usage(&chunk.data()),
    };
    may_state && chunk.document().is_some_and(|document| document.len("/choices").is_none_or(|len| len == 0))
}
