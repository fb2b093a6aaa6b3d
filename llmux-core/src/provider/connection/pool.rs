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

/// Largest number of requests at once on a connection of HTTP/2. Providers allow about a hundred streams, and a further
/// request would wait in the connection until one of them ends.
const STREAMS: usize = 100;

/// Silence of a connection of HTTP/2 after which it is asked for a sign of life, while it has requests.
const PING: Duration = Duration::from_secs(30);
/// Time limit for that sign. Without it, the requests on a connection whose network is gone would wait until the system gives
/// the connection up, which takes a quarter of an hour.
const PONG: Duration = Duration::from_secs(20);

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
    Http2(http2::SendRequest<Full<Bytes>>, Place),
}

/// The place of a request on a connection of HTTP/2. It is free again when this is dropped.
pub(super) struct Place {
    _of: Arc<()>,
}

/// A connection of HTTP/2, which requests share.
struct Shared {
    sender: http2::SendRequest<Full<Bytes>>,
    activity: Arc<Activity>,
    /// Each request holds a clone.
    places: Arc<()>,
}

impl Shared {
    fn is_full(&self) -> bool {
        Arc::strong_count(&self.places) > STREAMS
    }

    fn ready(&self, reused: bool) -> Ready {
        let sender = Sender::Http2(self.sender.clone(), Place { _of: self.places.clone() });
        Ready { sender, activity: self.activity.clone(), reused }
    }
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
    /// HTTP/2 connections. More than one is kept only if the others are full.
    shared: Vec<Shared>,
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
            let (sender, connection) = http2(dialed.io).await.map_err(failed)?;
            tokio::spawn(connection);
            return Ok(self.kept().share(sender, activity));
        }
        let (sender, connection) = http1::Builder::new().handshake(dialed.io).await.map_err(failed)?;
        tokio::spawn(connection);
        Ok(Ready { sender: Sender::Http1(sender), activity, reused: false })
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Begins HTTP/2.
async fn http2<T>(
    io: T,
) -> hyper::Result<(http2::SendRequest<Full<Bytes>>, http2::Connection<T, Full<Bytes>, TokioExecutor>)>
where
    T: hyper::rt::Read + hyper::rt::Write + Send + Unpin + 'static,
{
    let mut builder = http2::Builder::new(TokioExecutor::new());
    builder.timer(TokioTimer::new()).keep_alive_interval(PING).keep_alive_timeout(PONG);
    builder.handshake(io).await
}

impl Kept {
    /// Keeps a new connection of HTTP/2, with its first request. It takes the place of connections that are not full, which
    /// end after their requests.
    fn share(&mut self, sender: http2::SendRequest<Full<Bytes>>, activity: Arc<Activity>) -> Ready {
        self.shared.retain(Shared::is_full);
        let shared = Shared { sender, activity, places: Arc::default() };
        let ready = shared.ready(false);
        self.shared.push(shared);
        ready
    }

    fn take(&mut self) -> Option<Ready> {
        self.shared.retain(|shared| shared.sender.is_ready());
        if let Some(shared) = self.shared.iter().find(|shared| !shared.is_full()) {
            return Some(shared.ready(true));
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

#[cfg(test)]
mod tests {
    use http::Request;
    use hyper_util::rt::TokioIo;
    use tokio::{
        io::{DuplexStream, duplex},
        time::timeout,
    };

    use super::*;

    /// Begins HTTP/2 with a provider that reads nothing. Its side of the connection is returned, too.
    async fn silent() -> (http2::SendRequest<Full<Bytes>>, DuplexStream) {
        let (client, provider) = duplex(1 << 16);
        let (sender, connection) = http2(TokioIo::new(client)).await.unwrap();
        tokio::spawn(connection);
        (sender, provider)
    }

    #[tokio::test]
    async fn a_full_connection_of_http2_gets_another_one_beside_it() {
        let mut kept = Kept::default();
        let (sender, _provider) = silent().await;
        let mut requests = vec![kept.share(sender, Arc::new(Activity::new()))];
        requests.extend((1..STREAMS).map(|_| kept.take().expect("a place")));
        assert!(kept.take().is_none(), "the request would wait for a stream");
        let (sender, _provider) = silent().await;
        drop(kept.share(sender, Arc::new(Activity::new())));
        assert!(kept.take().is_some() && kept.shared.len() == 2, "the full one stays");
        requests.pop();
        let (sender, _provider) = silent().await;
        drop(kept.share(sender, Arc::new(Activity::new())));
        assert_eq!(kept.shared.len(), 1, "those with places end after their requests");
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_of_http2_whose_network_is_gone_ends() {
        let (mut sender, _provider) = silent().await;
        let mut request = Request::new(Full::new(Bytes::new()));
        *request.uri_mut() = "http://provider.example/".parse().unwrap();
        let answer = timeout(Duration::from_secs(3600), sender.send_request(request)).await;
        assert!(answer.expect("the connection ends").is_err());
        assert!(!sender.is_ready(), "no further request is sent on it");
    }
}
