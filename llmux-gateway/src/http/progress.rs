//! A connection that ends if its client reads nothing for too long, or does not complete the head of a request.
//!
//! Without the first bound, a client that stops reading keeps its stream, the provider's connection and the instances of
//! its request for good. `server` wraps each connection in it. Deliberately absent: the idle time between requests, which
//! `server` bounds, and the time of a body.

use std::{
    future::Future,
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Instant, Sleep, sleep},
};

use super::activity::Activity;

/// A connection whose writes and heads make progress.
pub(crate) struct Progress<S> {
    stream: S,
    limit: Duration,
    /// The wait for the client, which may be over.
    timer: Pin<Box<Sleep>>,
    /// Whether something is to be written, and the client reads nothing.
    waits: bool,
    /// The bound on heads; `None` for HTTP/2, whose own pings are such a bound.
    head: Option<Head>,
}

/// The bound on the head of a request, from its first byte to its last.
pub(crate) struct Head {
    activity: Arc<Activity>,
    limit: Duration,
    /// The number of requests before the one whose head arrives; `None` if no head arrives.
    before: Option<u64>,
    timer: Pin<Box<Sleep>>,
}

impl Head {
    pub(crate) fn new(activity: Arc<Activity>, limit: Duration) -> Self {
        Self { activity, limit, before: None, timer: Box::pin(sleep(limit)) }
    }

    /// Passes the result of a read on, or fails if a head takes too long.
    fn bounded(
        &mut self,
        cx: &mut Context<'_>,
        read: Poll<io::Result<()>>,
        some: bool,
    ) -> Poll<io::Result<()>> {
        // A request begins when its head is complete.
        let begun = self.activity.begun();
        if self.activity.is_busy() || self.before.is_some_and(|before| before != begun) {
            self.before = None;
        }
        if self.activity.is_busy() {
            return read;
        }
        if some {
            self.activity.touch();
            if self.before.is_none() {
                self.before = Some(begun);
                self.timer.as_mut().reset(Instant::now() + self.limit);
            }
        }
        if read.is_ready() || self.before.is_none() {
            return read;
        }
        ready!(self.timer.as_mut().poll(cx));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl<S> Progress<S> {
    pub(crate) fn new(stream: S, limit: Duration, head: Option<Head>) -> Self {
        Self { stream, limit, timer: Box::pin(sleep(limit)), waits: false, head }
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
        let before = into.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(cx, into);
        match &mut self.head {
            Some(head) => head.bounded(cx, read, into.filled().len() > before),
            None => read,
        }
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
        let mut server = Progress::new(server, Duration::from_secs(30), None);
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
