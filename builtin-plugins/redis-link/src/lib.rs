//! A plugin's own connection to Redis. The rate-limit and cache plugins use this crate.
//!
//! A library has its own copy of tokio and no access to the host's runtime, so a [`Link`] runs a small runtime on its
//! own thread. Hooks await its replies on any executor: they await a tokio `JoinHandle`, which needs no runtime.
//!
//! A request never waits for a connection; this is the main design decision. If there is a connection, a command takes
//! at most the configured timeout. If there is none, [`Link::call`] fails at once and the caller continues without
//! Redis. The link reconnects in the background, with backoff.
//!
//! Deliberately absent: any knowledge of keys, scripts or stored values.

mod config;
mod connection;
mod error;
pub mod health;
mod keeper;
mod target;
#[cfg(feature = "testing")]
pub mod testing;

use std::{
    future::Future,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
        mpsc,
    },
    thread,
};

pub use redis;
use redis::RedisResult;
use tokio::{
    runtime::{Builder, Handle},
    sync::oneshot,
};

use self::keeper::Shared;
pub use self::{config::RedisConfig, connection::Connection, error::Error};

/// Largest number of commands of [`Link::send`] that are under way at a time.
const MAX_SENT: usize = 256;

/// A connection to Redis servers, maintained in the background.
pub struct Link {
    shared: Arc<Shared>,
    runtime: Handle,
    sent: Arc<AtomicUsize>,
    worker: Mutex<Option<Worker>>,
}

/// The thread that runs the runtime.
struct Worker {
    stop: oneshot::Sender<()>,
    stopped: oneshot::Receiver<()>,
    thread: thread::JoinHandle<()>,
}

impl Link {
    /// Starts a link. Waits for the first connection, at most for the timeout. If the server is unavailable, the link
    /// keeps trying to connect in the background.
    ///
    /// The timeout also bounds every command. `report` is called at the beginning, and whenever the link's health changes.
    ///
    /// # Errors
    ///
    /// If the configuration is not valid, a file or an environment variable that it names cannot be read, or the thread cannot
    /// be started. The message does not repeat the URL, which may contain a password.
    pub fn open(config: &RedisConfig, report: health::Report) -> Result<Self, String> {
        // This library has its own copy of rustls, which needs a provider of cryptography. It may be installed already.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let target = config.target()?;
        let timeout = config.timeout;
        let runtime = Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| format!("cannot start a runtime: {error}"))?;
        let handle = runtime.handle().clone();
        let shared = Arc::new(Shared::new(timeout, report));
        let (stop, stopping) = oneshot::channel();
        let (say_stopped, stopped) = oneshot::channel();
        let (first, first_try) = mpsc::sync_channel(1);
        let keeping = Arc::clone(&shared);
        let run = move || {
            runtime.block_on(async {
                tokio::select! {
                    () = keeper::keep(&keeping, &target, first) => {}
                    _ = stopping => {}
                }
            });
            keeping.take();
            // A name lookup may still block a helper thread; the shutdown does not wait for it.
            runtime.shutdown_background();
            let _ = say_stopped.send(());
        };
        let thread = thread::Builder::new()
            .name("llmux-redis".to_owned())
            .spawn(run)
            .map_err(|error| format!("cannot start a thread: {error}"))?;
        let _ = first_try.recv_timeout(timeout);
        let worker = Mutex::new(Some(Worker { stop, stopped, thread }));
        Ok(Self { shared, runtime: handle, sent: Arc::default(), worker })
    }

    /// Returns true if the link has a connection, as far as the keeper knows.
    pub fn is_up(&self) -> bool {
        self.shared.is_up()
    }

    /// Runs a command (or a script, or several commands) and waits for the reply, at most for the timeout.
    ///
    /// # Errors
    ///
    /// [`Error::Away`], at once, if there is no connection. [`Error::TimedOut`] or [`Error::Failed`] if the command
    /// fails. After a timeout or a broken connection, later calls return [`Error::Away`] until the link has reconnected.
    pub async fn call<T, F, A>(&self, command: F) -> Result<T, Error>
    where
        T: Send + 'static,
        F: FnOnce(Connection) -> A + Send + 'static,
        A: Future<Output = RedisResult<T>> + Send,
    {
        if !self.is_up() {
            return Err(Error::Away);
        }
        let shared = Arc::clone(&self.shared);
        let answer = self.runtime.spawn(async move { shared.run(command).await });
        // Awaiting fails only if the runtime has stopped.
        answer.await.unwrap_or(Err(Error::Away))
    }

    /// Runs a command without waiting for the reply. If there is no connection, or 256 such commands are under way, does
    /// nothing and returns false.
    pub fn send<T, F, A>(&self, command: F) -> bool
    where
        T: Send + 'static,
        F: FnOnce(Connection) -> A + Send + 'static,
        A: Future<Output = RedisResult<T>> + Send,
    {
        if !self.is_up() {
            return false;
        }
        let place = Place::take(&self.sent);
        let Some(place) = place else { return false };
        let shared = Arc::clone(&self.shared);
        self.runtime.spawn(async move {
            if let Err(error) = shared.run(command).await {
                tracing::debug!(%error, "a redis command failed");
            }
            drop(place);
        });
        true
    }

    /// Closes the connection and stops the thread, and waits for both. Later calls return [`Error::Away`].
    pub async fn close(&self) {
        let worker = self.worker.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(worker) = worker {
            let _ = worker.stop.send(());
            let _ = worker.stopped.await;
            let _ = worker.thread.join();
        }
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        let worker = self.worker.get_mut().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(worker) = worker {
            let _ = worker.stop.send(());
            let _ = worker.thread.join();
        }
    }
}

/// The place of one command of [`Link::send`] that is under way, counted until it is dropped.
struct Place(Arc<AtomicUsize>);

impl Place {
    fn take(count: &Arc<AtomicUsize>) -> Option<Self> {
        let place = Self(Arc::clone(count));
        let before = count.fetch_add(1, Ordering::Relaxed);
        (before < MAX_SENT).then_some(place)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
