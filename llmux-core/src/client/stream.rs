//! The stream of chunks that a caller reads.

use std::{
    future::{Future, poll_fn},
    pin::Pin,
    task::{Context, Poll},
};

use futures_util::Stream;
use tokio::sync::mpsc::{Receiver, error::TryRecvError};

use crate::{
    error::Error,
    pipeline::{Chunk, StreamItem, detached::Detached},
};

/// A stream of chunks; an error is its last item. Reading it runs the request, hooks included, in the reader's task.
/// If it is dropped early, the request is cancelled and ends in a task of its own.
pub struct ReplyStream {
    driver: Detached<()>,
    chunks: Receiver<StreamItem>,
}

impl ReplyStream {
    pub(super) fn new(driver: Detached<()>, chunks: Receiver<StreamItem>) -> Self {
        Self { driver, chunks }
    }

    /// Returns the item before the first chunk.
    pub(super) async fn first(&mut self) -> Option<StreamItem> {
        poll_fn(|cx| self.poll_sent(cx)).await
    }

    /// Returns the next chunk; `None` at the end.
    ///
    /// # Errors
    ///
    /// The error that ended the stream. It is the last item.
    pub async fn next(&mut self) -> Option<Result<Chunk, Error>> {
        poll_fn(|cx| Pin::new(&mut *self).poll_next(cx)).await
    }

    fn poll_sent(&mut self, cx: &mut Context<'_>) -> Poll<Option<StreamItem>> {
        loop {
            match self.chunks.try_recv() {
                Ok(sent) => return Poll::Ready(Some(sent)),
                Err(TryRecvError::Disconnected) => return Poll::Ready(None),
                Err(TryRecvError::Empty) if self.driver.is_done() => return Poll::Ready(None),
                // The request runs in this task, so no waker is needed. If its rest has moved to another task, the driver
                // wakes this one at the end, when the last item is there.
                Err(TryRecvError::Empty) => {}
            }
            if Pin::new(&mut self.driver).poll(cx).is_pending() {
                return match self.chunks.try_recv() {
                    Ok(sent) => Poll::Ready(Some(sent)),
                    Err(_) => Poll::Pending,
                };
            }
        }
    }
}

impl Stream for ReplyStream {
    type Item = Result<Chunk, Error>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.poll_sent(cx).map(|sent| match sent? {
            StreamItem::Chunk(chunk) => Some(Ok(chunk)),
            StreamItem::Failed(_, error) => Some(Err(error)),
            StreamItem::Start(_) => None,
        })
    }
}
