//! The stream of chunks that a caller reads.

use std::{
    future::{Future, poll_fn},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
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
    /// The deployment that was chosen last.
    deployment: Option<Arc<str>>,
}

impl ReplyStream {
    pub(super) fn new(driver: Detached<()>, chunks: Receiver<StreamItem>) -> Self {
        Self { driver, chunks, deployment: None }
    }

    /// Returns the item before the first chunk.
    pub(super) async fn first(&mut self) -> Option<StreamItem> {
        let first = poll_fn(|cx| self.poll_sent(cx)).await;
        if let Some(StreamItem::Start(head)) = &first {
            self.deployment.clone_from(&head.deployment);
        }
        first
    }

    /// Returns the deployment that was chosen last, as `provider/model`. After an early head, it is known with the first
    /// chunk.
    pub fn deployment(&self) -> Option<&str> {
        self.deployment.as_deref()
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
        loop {
            return Poll::Ready(match ready!(self.poll_sent(cx)) {
                Some(StreamItem::Chunk(chunk)) => Some(Ok(chunk)),
                Some(StreamItem::Failed(_, error)) => Some(Err(error)),
                // The first one was early.
                Some(StreamItem::Start(head)) => {
                    self.deployment = head.deployment;
                    continue;
                }
                None => None,
            });
        }
    }
}
