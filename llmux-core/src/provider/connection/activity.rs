//! The bytes of one connection, counted, so that a failed exchange can tell whether its provider began to answer.
//!
//! `dial` wraps each connection, and `exchange` reads the counts. The counters cost one store for each read and write.

use std::{
    io,
    pin::Pin,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    task::{Context, Poll},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::Instant,
};

use crate::provider::tls::CertificateRefusal;

/// Longest time between the last byte sent and the end of a kept connection, for which the request counts as not
/// processed.
const STALE: Duration = Duration::from_secs(1);

/// The counts of one connection.
#[derive(Debug)]
pub(super) struct Activity {
    opened: Instant,
    /// Bytes that were read so far.
    read: AtomicU64,
    /// Time of the last write, in milliseconds after the connection was opened.
    written_at: AtomicU64,
    /// The refusal that a read ended with.
    refusal: OnceLock<CertificateRefusal>,
}

impl Activity {
    pub(super) fn new() -> Self {
        Self {
            opened: Instant::now(),
            read: AtomicU64::new(0),
            written_at: AtomicU64::new(0),
            refusal: OnceLock::new(),
        }
    }

    /// Returns the number of bytes that were read so far.
    pub(super) fn read(&self) -> u64 {
        self.read.load(Relaxed)
    }

    /// Returns true if nothing was read since the count was `read`, and the last write was at most a second ago.
    pub(super) fn is_stale(&self, read: u64) -> bool {
        let written_at = Duration::from_millis(self.written_at.load(Relaxed));
        self.read() == read && self.opened.elapsed().saturating_sub(written_at) <= STALE
    }

    /// Returns the provider's refusal of the host's certificate. In TLS 1.3 it arrives after the handshake, which has
    /// ended for the host, and instead of an answer.
    pub(super) fn refusal(&self) -> Option<CertificateRefusal> {
        self.refusal.get().copied()
    }

    fn wrote(&self) {
        self.written_at.store(self.opened.elapsed().as_millis() as u64, Relaxed);
    }
}

/// A connection whose bytes are counted.
pub(super) struct Counted<T> {
    pub(super) io: T,
    pub(super) activity: Arc<Activity>,
}

impl<T: AsyncRead + Unpin> AsyncRead for Counted<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let polled = Pin::new(&mut self.io).poll_read(cx, buffer);
        let read = buffer.filled().len() - before;
        if read > 0 {
            self.activity.read.fetch_add(read as u64, Relaxed);
        }
        if let Poll::Ready(Err(error)) = &polled
            && let Some(refusal) = CertificateRefusal::of(error)
        {
            let _ = self.activity.refusal.set(refusal);
        }
        polled
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Counted<T> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.activity.wrote();
        Pin::new(&mut self.io).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.activity.wrote();
        Pin::new(&mut self.io).poll_write_vectored(cx, parts)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn f1_a_kept_connection_is_stale_for_a_second_and_until_a_byte_arrives() {
        let activity = Arc::new(Activity::new());
        tokio::time::advance(Duration::from_secs(60)).await;
        let mut connection = Counted { io: tokio::io::sink(), activity: activity.clone() };
        assert!(!activity.is_stale(0), "nothing was written for a minute");
        connection.write_all(b"request").await.unwrap();
        tokio::time::advance(Duration::from_millis(900)).await;
        assert!(activity.is_stale(0));
        tokio::time::advance(Duration::from_millis(200)).await;
        assert!(!activity.is_stale(0), "the provider had time to process it");
        connection.write_all(b"more").await.unwrap();
        activity.read.fetch_add(1, Relaxed);
        assert!(!activity.is_stale(0), "an answer has begun");
    }
}
