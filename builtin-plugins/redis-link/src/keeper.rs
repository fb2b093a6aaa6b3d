//! The keeper of the connection: connects, watches, and reconnects with backoff. Runs on the link's own runtime.
//!
//! If a command finds the connection broken, the keeper drops it at once and reconnects. An idle connection is pinged
//! every second, so that a restarted server is found before the next request needs it.

use std::{
    collections::hash_map::RandomState,
    future::Future,
    hash::BuildHasher,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
        mpsc::SyncSender,
    },
    time::{Duration, Instant},
};

use redis::{RedisError, RedisResult};
use tokio::{
    sync::Notify,
    time::{sleep, timeout},
};

use crate::{
    connection::Connection,
    error::Error,
    health::{Health, Report},
    target::Target,
};

const PING_EVERY: Duration = Duration::from_secs(1);
const FIRST_BACKOFF: Duration = Duration::from_millis(50);
const LAST_BACKOFF: Duration = Duration::from_secs(2);
/// The age from which a connection is given up if its server is a replica. A new one may lead to the present master.
const REPLICA_AFTER: Duration = Duration::from_secs(5);

/// The state that the link and its keeper share.
pub(crate) struct Shared {
    connection: Mutex<Option<Numbered>>,
    up: AtomicBool,
    lost: Notify,
    timeout: Duration,
    /// The error code of the last refusal that was logged.
    refusal: Mutex<Option<String>>,
    health: Health,
}

/// A connection and its number. The number prevents a late failure of an old connection from ending the new one.
#[derive(Clone)]
struct Numbered {
    number: u64,
    connection: Connection,
    since: Instant,
}

impl Shared {
    pub(crate) fn new(timeout: Duration, report: Report) -> Self {
        Self {
            connection: Mutex::new(None),
            up: AtomicBool::new(false),
            lost: Notify::new(),
            timeout,
            refusal: Mutex::new(None),
            health: Health::new(report),
        }
    }

    pub(crate) fn is_up(&self) -> bool {
        self.up.load(Ordering::Acquire)
    }

    /// Removes the current connection, whatever its number.
    pub(crate) fn take(&self) {
        let mut connection = self.connection.lock().unwrap_or_else(PoisonError::into_inner);
        *connection = None;
        self.up.store(false, Ordering::Release);
        self.health.update(false);
    }

    fn put(&self, new: Numbered) {
        let mut connection = self.connection.lock().unwrap_or_else(PoisonError::into_inner);
        *connection = Some(new);
        *self.refusal.lock().unwrap_or_else(PoisonError::into_inner) = None;
        self.up.store(true, Ordering::Release);
        self.health.update(true);
    }

    /// Logs a refusal if its code (`OOM`, `NOPERM`, `READONLY`, …) differs from the last one. Every request may get the
    /// same refusal.
    fn tell_refusal(&self, error: &RedisError) {
        self.health.refused();
        let code = error.code().unwrap_or("an unexpected reply");
        let mut told = self.refusal.lock().unwrap_or_else(PoisonError::into_inner);
        if told.as_deref() != Some(code) {
            *told = Some(code.to_owned());
            tracing::warn!(%error, "redis refused a command; similar commands may be refused too");
        }
    }

    fn current(&self) -> Option<Numbered> {
        self.connection.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn lose(&self, number: u64) {
        let mut connection = self.connection.lock().unwrap_or_else(PoisonError::into_inner);
        if connection.as_ref().is_some_and(|current| current.number == number) {
            *connection = None;
            self.up.store(false, Ordering::Release);
            self.health.update(false);
            self.lost.notify_one();
        }
    }

    /// Runs a command on the current connection, at most for the timeout.
    pub(crate) async fn run<T, F, A>(&self, command: F) -> Result<T, Error>
    where
        F: FnOnce(Connection) -> A,
        A: Future<Output = RedisResult<T>>,
    {
        let Numbered { number, connection, since } = self.current().ok_or(Error::Away)?;
        match timeout(self.timeout, command(connection)).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(error)) => {
                // An error reply of the server to one command leaves the connection usable.
                if error.is_io_error() || error.is_connection_dropped() || error.is_unrecoverable_error() {
                    self.lose(number);
                } else {
                    self.tell_refusal(&error);
                    if leads_elsewhere(&error, since.elapsed()) {
                        self.lose(number);
                    }
                }
                Err(Error::Failed(error))
            }
            // A server that hangs counts as unavailable: only the first requests wait for it.
            Err(_) => {
                self.lose(number);
                Err(Error::TimedOut)
            }
        }
    }
}

/// Keeps a connection in `shared` for as long as this future is polled. Sends to `first` after the first attempt.
pub(crate) async fn keep(shared: &Shared, target: &Target, first: SyncSender<()>) {
    let mut backoff = FIRST_BACKOFF;
    let mut reported = false;
    for number in 0.. {
        let attempt = target.connect(shared.timeout).await;
        match attempt {
            Ok(connection) => {
                shared.put(Numbered { number, connection, since: Instant::now() });
                let _ = first.try_send(());
                tracing::info!("connected to redis");
                watch(shared).await;
                shared.take();
                tracing::warn!("lost the connection to redis, reconnecting");
                (backoff, reported) = (FIRST_BACKOFF, false);
                continue;
            }
            // Logged as a warning once for each outage, then at debug level.
            Err(error) if !reported => tracing::warn!(%error, "cannot connect to redis, retrying"),
            Err(error) => tracing::debug!(%error, "cannot connect to redis, retrying"),
        }
        reported = true;
        shared.health.update(false);
        let _ = first.try_send(());
        sleep(jittered(backoff)).await;
        backoff = (backoff * 2).min(LAST_BACKOFF);
    }
}

/// Returns a random delay between half the backoff and the whole, so that hosts do not reconnect at the same time.
fn jittered(backoff: Duration) -> Duration {
    let random = RandomState::new().hash_one(()) as u32;
    backoff / 2 + (backoff / 2).mul_f64(f64::from(random) / f64::from(u32::MAX))
}

/// Returns true if another connection may lead to a server that accepts the command. After a failover, the former master is a
/// replica and keeps its connections. A server that stays read-only is connected to again now and then, but not at each
/// command.
fn leads_elsewhere(error: &RedisError, age: Duration) -> bool {
    match error.code() {
        Some("CLUSTERDOWN" | "MASTERDOWN" | "LOADING") => true,
        Some("READONLY") => age >= REPLICA_AFTER,
        _ => false,
    }
}

/// Returns once the connection is lost.
async fn watch(shared: &Shared) {
    while shared.is_up() {
        tokio::select! {
            () = shared.lost.notified() => {}
            () = sleep(PING_EVERY) => {
                let ping = shared.run(async |mut connection| {
                    redis::cmd("PING").query_async::<()>(&mut connection).await
                });
                if ping.await.is_err() {
                    return;
                }
                shared.health.update(true);
            }
        }
    }
}
