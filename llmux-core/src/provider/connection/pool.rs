//! The kept connections of one provider.
//!
//! `exchange` takes a connection from here, and `body` returns it. All connections lead to one place, so the pool has no
//! keys. Its lock is held for a push or a pop.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    time::Duration,
};

use bytes::Bytes;
use http_body_util::Full;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use tokio::time::Instant;

use super::{
    activity::Activity,
    dial::{DialError, Dialer},
};

/// Longest time for which an unused connection is kept.
const KEEP: Duration = Duration::from_secs(90);

/// A connection that is ready for a request.
pub(super) struct Ready {
    pub(super) sender: Sender,
    pub(super) activity: Arc<Activity>,
    /// True if it has served a request before.
    pub(super) reused: bool,
}

/// The sending side of a connection.
pub(super) enum Sender {
    Http1(http1::SendRequest<Full<Bytes>>),
    Http2(http2::SendRequest<Full<Bytes>>),
}

/// An HTTP/1.1 connection between two requests.
pub(super) struct Idle {
    pub(super) sender: http1::SendRequest<Full<Bytes>>,
    pub(super) activity: Arc<Activity>,
}

/// The connections that may be used again.
#[derive(Default)]
struct Kept {
    /// HTTP/1.1 connections, the one that was used last at the end.
    idle: Vec<(Instant, Idle)>,
    /// The HTTP/2 connection, which all requests share.
    shared: Option<(http2::SendRequest<Full<Bytes>>, Arc<Activity>)>,
    /// True while a task removes old connections.
    reaped: bool,
}

/// The connections of one provider.
pub(super) struct Pool {
    dialer: Dialer,
    kept: Mutex<Kept>,
}

impl Pool {
    pub(super) fn new(dialer: Dialer) -> Arc<Self> {
        Arc::new(Self { dialer, kept: Mutex::default() })
    }

    /// Takes a kept connection, or opens one. With `new`, always opens one.
    pub(super) async fn ready(&self, new: bool) -> Result<Ready, DialError> {
        let kept = if new { None } else { self.kept().take() };
        match kept {
            Some(ready) => Ok(ready),
            // Boxed, so that a request on a kept connection does not hold the state of dialing.
            None => Box::pin(self.open()).await,
        }
    }

    /// Returns a connection after the end of a response.
    pub(super) fn put(self: &Arc<Self>, idle: Idle) {
        if idle.sender.is_closed() {
            return;
        }
        let now = Instant::now();
        let mut kept = self.kept();
        kept.remove_old(now);
        kept.idle.push((now, idle));
        if !kept.reaped
            && let Ok(runtime) = tokio::runtime::Handle::try_current()
        {
            kept.reaped = true;
            runtime.spawn(reap(Arc::downgrade(self)));
        }
    }

    async fn open(&self) -> Result<Ready, DialError> {
        let failed = |error: hyper::Error| DialError::Failed(error.into());
        let dialed = self.dialer.dial().await?;
        let activity = dialed.activity;
        if dialed.http2 {
            let handshake =
                http2::Builder::new(TokioExecutor::new()).timer(TokioTimer::new()).handshake(dialed.io);
            let (sender, connection) = handshake.await.map_err(failed)?;
            tokio::spawn(connection);
            self.kept().shared = Some((sender.clone(), activity.clone()));
            return Ok(Ready { sender: Sender::Http2(sender), activity, reused: false });
        }
        let (sender, connection) = http1::Builder::new().handshake(dialed.io).await.map_err(failed)?;
        tokio::spawn(connection);
        Ok(Ready { sender: Sender::Http1(sender), activity, reused: false })
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Kept {
    fn take(&mut self) -> Option<Ready> {
        if let Some((sender, activity)) = &self.shared {
            if sender.is_ready() {
                let (sender, activity) = (Sender::Http2(sender.clone()), activity.clone());
                return Some(Ready { sender, activity, reused: true });
            }
            self.shared = None;
        }
        // A connection that still ends its last exchange is not ready. It stays for a later request.
        let oldest = Instant::now().checked_sub(KEEP);
        self.idle
            .retain(|(since, idle)| !idle.sender.is_closed() && oldest.is_none_or(|oldest| *since > oldest));
        let at = self.idle.iter().rposition(|(_, idle)| idle.sender.is_ready())?;
        let (_, Idle { sender, activity }) = self.idle.remove(at);
        Some(Ready { sender: Sender::Http1(sender), activity, reused: true })
    }

    fn remove_old(&mut self, now: Instant) {
        let old = self.idle.iter().take_while(|(since, _)| now.duration_since(*since) >= KEEP).count();
        self.idle.drain(..old);
    }
}

/// Removes connections that were not used for [`KEEP`], until none is kept.
async fn reap(pool: Weak<Pool>) {
    loop {
        tokio::time::sleep(KEEP / 2).await;
        let Some(pool) = pool.upgrade() else { return };
        let mut kept = pool.kept();
        kept.remove_old(Instant::now());
        if kept.idle.is_empty() {
            kept.reaped = false;
            return;
        }
    }
}
