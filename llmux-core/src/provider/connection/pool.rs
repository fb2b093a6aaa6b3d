//! The kept connections of one provider.
//!
//! `exchange` takes a connection from here, and `body` returns it. All connections lead to one place, so the pool has no
//! keys. Its lock is held for a push or a pop.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    time::Duration,
};

use tokio::time::Instant;

use super::{
    activity::Activity,
    dial::{DialError, Dialer},
    http1::Http1,
    http2::{Http2, Place},
};

/// Longest time for which an unused connection is kept.
const KEEP: Duration = Duration::from_secs(90);

/// A connection that is ready for a request.
pub(super) struct Ready {
    pub(super) connection: Connection,
    /// True if it has served a request before.
    pub(super) reused: bool,
}

/// A connection, by its protocol.
pub(super) enum Connection {
    Http1(Http1),
    Http2(Place),
}

impl Connection {
    pub(super) fn activity(&self) -> &Arc<Activity> {
        match self {
            Self::Http1(connection) => connection.activity(),
            Self::Http2(place) => place.activity(),
        }
    }
}

/// The connections that may be used again.
#[derive(Default)]
struct Kept {
    /// HTTP/1.1 connections between two requests, the one that was used last at the end.
    idle: Vec<(Instant, Http1)>,
    /// HTTP/2 connections. More than one is kept only if the others are full.
    shared: Vec<Http2>,
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
        let kept = if new { None } else { self.take() };
        match kept {
            Some(connection) => Ok(Ready { connection, reused: true }),
            // Boxed, so that a request on a kept connection does not hold the state of dialing.
            None => Ok(Ready { connection: Box::pin(self.open()).await?, reused: false }),
        }
    }

    /// Returns a connection after the end of a response. A connection that still writes its request closes.
    pub(super) fn put(self: &Arc<Self>, mut connection: Http1) {
        if !connection.is_ready() {
            return;
        }
        let mut kept = self.kept();
        kept.idle.push((Instant::now(), connection));
        if !kept.reaped
            && let Ok(runtime) = tokio::runtime::Handle::try_current()
        {
            kept.reaped = true;
            runtime.spawn(reap(Arc::downgrade(self)));
        }
    }

    fn take(&self) -> Option<Connection> {
        if let Some(place) = self.kept().place() {
            return Some(Connection::Http2(place));
        }
        loop {
            let (since, mut connection) = self.kept().idle.pop()?;
            // Nobody ran it since its last exchange, so this turn shows whether the provider has closed it.
            if since.elapsed() < KEEP && connection.is_ready() {
                return Some(Connection::Http1(connection));
            }
        }
    }

    async fn open(&self) -> Result<Connection, DialError> {
        let failed = |error: hyper::Error| DialError::Failed(error.into());
        let dialed = self.dialer.dial().await?;
        if !dialed.http2 {
            return Ok(Connection::Http1(Http1::new(dialed).await.map_err(failed)?));
        }
        let connection = Http2::new(dialed).await.map_err(failed)?;
        Ok(Connection::Http2(self.kept().share(connection)))
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Kept {
    /// Keeps a new connection of HTTP/2, and returns a place on it. It replaces connections that are not full, which end
    /// after their requests.
    fn share(&mut self, connection: Http2) -> Place {
        self.shared.retain(Http2::is_full);
        let place = connection.place();
        self.shared.push(connection);
        place
    }

    /// Returns a place on a connection of HTTP/2.
    fn place(&mut self) -> Option<Place> {
        self.shared.retain(Http2::is_open);
        self.shared.iter().find(|connection| !connection.is_full()).map(Http2::place)
    }
}

/// Removes connections that were not used for [`KEEP`] or that the provider has closed, until none is kept.
async fn reap(pool: Weak<Pool>) {
    loop {
        tokio::time::sleep(KEEP / 2).await;
        let Some(pool) = pool.upgrade() else { return };
        let mut kept = pool.kept();
        kept.idle.retain_mut(|(since, connection)| since.elapsed() < KEEP && connection.is_ready());
        if kept.idle.is_empty() {
            kept.reaped = false;
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{super::http2::tests::silent, *};

    #[tokio::test]
    async fn a_full_connection_of_http2_gets_another_one_beside_it() {
        let mut kept = Kept::default();
        let (connection, _provider) = silent().await;
        let mut requests = vec![kept.share(connection)];
        while let Some(place) = kept.place() {
            requests.push(place);
        }
        assert_eq!(requests.len(), 100, "a further request would wait for a stream");
        let (connection, _provider) = silent().await;
        drop(kept.share(connection));
        assert!(kept.place().is_some() && kept.shared.len() == 2, "the full one stays");
        requests.pop();
        let (connection, _provider) = silent().await;
        drop(kept.share(connection));
        assert_eq!(kept.shared.len(), 1, "those with places end after their requests");
    }
}
