//! The activity of one connection: its requests, and the time since the last one. It bounds the idle time of a kept
//! connection, the time of a head, and the time for which a client of HTTP/2 reads nothing of an answer.
//!
//! `server` makes one for each connection; `progress` reads it. Deliberately absent: the time of a body, which `body` bounds.

use std::{
    cell::Cell,
    future::{Future, poll_fn},
    pin::{Pin, pin},
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed},
    },
    task::{Context, Poll},
    time::Duration,
};

use http_body::{Body, Frame, SizeHint};
use hyper::rt::Executor;
use tokio::time::{Instant, sleep, sleep_until};

tokio::task_local! {
    /// The time since which a stream of HTTP/2 has bytes to send that its client did not ask for.
    static SENDING: Cell<Option<Instant>>;
}

/// The activity of one connection.
pub(super) struct Activity {
    start: Instant,
    /// Number of requests so far.
    begun: AtomicU64,
    /// Number of requests whose answer has not ended.
    running: AtomicUsize,
    /// Time of the last activity, in milliseconds since `start`.
    last: AtomicU64,
}

impl Activity {
    pub(super) fn start() -> Arc<Self> {
        let (begun, running, last) = (AtomicU64::new(0), AtomicUsize::new(0), AtomicU64::new(0));
        Arc::new(Self { start: Instant::now(), begun, running, last })
    }

    /// Counts a request, until the result is dropped.
    pub(super) fn begin(self: &Arc<Self>) -> Running {
        self.begun.fetch_add(1, Relaxed);
        self.running.fetch_add(1, Relaxed);
        Running(self.clone())
    }

    /// Returns the number of requests so far.
    pub(super) fn begun(&self) -> u64 {
        self.begun.load(Relaxed)
    }

    /// Returns true if a request is in flight.
    pub(super) fn is_busy(&self) -> bool {
        self.running.load(Relaxed) > 0
    }

    /// Notes that the connection is active now.
    pub(super) fn touch(&self) {
        let now = u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.last.store(now, Relaxed);
    }

    /// Waits until the connection has been idle for this long.
    pub(super) async fn idle(&self, limit: Duration) {
        loop {
            let last = match self.is_busy() {
                true => Instant::now(),
                false => self.start + Duration::from_millis(self.last.load(Relaxed)),
            };
            let Some(end) = last.checked_add(limit) else { return std::future::pending().await };
            if end <= Instant::now() && !self.is_busy() {
                return;
            }
            // Not woken by each request: it reads `last` when it fires.
            sleep_until(end).await;
        }
    }
}

/// A request in flight. It has ended when this is dropped.
pub(super) struct Running(Arc<Activity>);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.touch();
        self.0.running.fetch_sub(1, Relaxed);
    }
}

/// The body of an answer. Its request ends with it.
pub(super) struct Counted<B> {
    body: B,
    _running: Running,
}

impl<B> Counted<B> {
    pub(super) fn new(body: B, running: Running) -> Self {
        Self { body, _running: running }
    }
}

impl<B: Body + Unpin> Body for Counted<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        let polled = Pin::new(&mut self.body).poll_frame(cx);
        // The next frame is asked for when the client has taken this one. Only streams of HTTP/2 have this value.
        let _ = SENDING.try_with(|since| since.set(polled.is_ready().then(Instant::now)));
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// Runs the streams of a connection of HTTP/2, each until its client takes nothing of its answer for `limit`. Such a stream
/// is reset. The connection itself may be well: the client reads other streams, or answers pings.
#[derive(Clone)]
pub(super) struct Streams {
    pub(super) limit: Duration,
}

impl<F: Future<Output: Send> + Send + 'static> Executor<F> for Streams {
    fn execute(&self, stream: F) {
        tokio::spawn(SENDING.scope(Cell::new(None), bounded(stream, self.limit)));
    }
}

async fn bounded(stream: impl Future, limit: Duration) {
    let mut stream = pin!(stream);
    let mut timer = pin!(sleep(limit));
    let mut armed = None;
    poll_fn(|cx| {
        if stream.as_mut().poll(cx).is_ready() {
            return Poll::Ready(());
        }
        let since = SENDING.with(Cell::get);
        let Some(begun) = since else { return Poll::Pending };
        if armed != since {
            armed = since;
            timer.as_mut().reset(begun + limit);
        }
        timer.as_mut().poll(cx)
    })
    .await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_connection_is_idle_after_its_last_request() {
        let activity = Activity::start();
        let limit = Duration::from_secs(90);
        let idle = tokio::spawn({
            let activity = activity.clone();
            async move {
                activity.idle(limit).await;
                activity.start.elapsed().as_secs()
            }
        });
        sleep(Duration::from_secs(10)).await;
        let first = activity.begin();
        sleep(Duration::from_secs(300)).await;
        let second = activity.begin();
        drop(first);
        sleep(Duration::from_secs(7)).await;
        drop(second);
        assert_eq!(idle.await.expect("no panic"), 10 + 300 + 7 + 90);
    }

    #[tokio::test(start_paused = true)]
    async fn an_unbounded_idle_time_never_ends() {
        let activity = Activity::start();
        let idle = tokio::time::timeout(Duration::from_secs(1 << 30), activity.idle(Duration::MAX));
        assert!(idle.await.is_err());
    }
}
