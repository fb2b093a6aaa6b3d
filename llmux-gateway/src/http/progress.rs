//! A connection that ends if its client reads nothing for too long.
//!
//! Without this bound, a client that stops reading keeps its stream, the provider's connection and the instances of its
//! request for good. `server` wraps each connection in it. Deliberately absent: a bound on reading, which depends on what
//! is read.

use std::{
    future::Future,
    io,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Instant, Sleep, sleep},
};

/// A connection whose writes make progress.
pub(crate) struct Progress<S> {
    stream: S,
    limit: Duration,
    /// The wait for the client, which may be over.
    timer: Pin<Box<Sleep>>,
    /// Whether something is to be written, and the client reads nothing.
    waits: bool,
}

impl<S> Progress<S> {
    pub(crate) fn new(stream: S, limit: Duration) -> Self {
        Self { stream, limit, timer: Box::pin(sleep(limit)), waits: false }
    }

    /// Passes a result on, or fails if it has been pending for too long.
    fn bounded<T>(&mut self, cx: &mut Context<'_>, written: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.waits = false;
            return written;
        }
        if !self.waits {
            self.waits = true;
            self.timer.as_mut().reset(Instant::now() + self.limit);
        }
        ready!(self.timer.as_mut().poll(cx));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Progress<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, into)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Progress<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.bounded(cx, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, bytes);
        self.bounded(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.stream).poll_flush(cx);
        self.bounded(cx, flushed)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let shut = Pin::new(&mut self.stream).poll_shutdown(cx);
        self.bounded(cx, shut)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_client_that_reads_nothing_is_left_and_a_slow_one_is_not() {
        let (mut client, server) = duplex(16);
        let mut server = Progress::new(server, Duration::from_secs(30));
        let writing = tokio::spawn(async move { (server.write_all(&[1; 64]).await, server) });
        for _ in 0..3 {
            tokio::time::sleep(Duration::from_secs(29)).await;
            client.read_exact(&mut [0; 16]).await.expect("read");
        }
        let (written, mut server) = writing.await.expect("no panic");
        written.expect("the client reads");
        // Silence without anything to write costs nothing.
        tokio::time::sleep(Duration::from_secs(3600)).await;
        let begun = Instant::now();
        let stalled = server.write_all(&[1; 64]).await.expect_err("the client reads nothing");
        assert_eq!((stalled.kind(), begun.elapsed().as_secs()), (io::ErrorKind::TimedOut, 30));
    }
}
