//! The stream that a caller reads.

use std::{
    future::{Future, poll_fn},
    pin::Pin,
    task::{Context, Poll},
};

use futures_util::Stream;
use tokio::sync::mpsc::{Receiver, error::TryRecvError};

use crate::{
    error::Error,
    pipeline::{Chunk, Sent, detached::Detached},
};

/// A stream of chunks; an error is its last item. Reading it runs the request: upstream, hooks and all, in the
/// reader's task. Dropping it early cancels the request, which then ends in a task of its own.
pub struct ReplyStream {
    driver: Detached<()>,
    chunks: Receiver<Sent>,
}

impl ReplyStream {
    pub(super) fn new(driver: Detached<()>, chunks: Receiver<Sent>) -> Self {
        Self { driver, chunks }
    }

    /// What comes before the chunks.
    pub(super) async fn first(&mut self) -> Option<Sent> {
        poll_fn(|cx| self.poll_sent(cx)).await
    }

    /// The next chunk.
    ///
    /// # Errors
    ///
    /// What ended the stream; it is the last item.
    pub async fn next(&mut self) -> Option<Result<Chunk, Error>> {
        poll_fn(|cx| Pin::new(&mut *self).poll_next(cx)).await
    }

    fn poll_sent(&mut self, cx: &mut Context<'_>) -> Poll<Option<Sent>> {
        loop {
            match self.chunks.try_recv() {
                Ok(sent) => return Poll::Ready(Some(sent)),
                Err(TryRecvError::Disconnected) => return Poll::Ready(None),
                Err(TryRecvError::Empty) if self.driver.is_done() => return Poll::Ready(None),
                // The driver runs here, so nobody else can fill the channel: no need to wait for it.
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
            Sent::Chunk(chunk) => Some(Ok(chunk)),
            Sent::Failed(_, error) => Some(Err(error)),
            Sent::Start(_) => None,
        })
    }
}
