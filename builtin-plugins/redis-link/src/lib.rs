//! A plugin's own connection to Redis: the rate-limit and cache plugins share it.
//!
//! A library has its own copy of tokio and no way to the host's runtime, so a [`Link`] runs a small runtime on
//! a thread of its own. Hooks await its answers from whatever executor polls them: what crosses is a tokio
//! `JoinHandle`, which needs no runtime to be awaited.
//!
//! The key design decision made here is that a request never waits for a connection. Either there is one,
//! and a command takes at most the configured timeout, or [`Link::call`] says at once that there is none and
//! the caller does without. Reconnecting happens beside the requests, with backoff.
//!
//! Deliberately absent: any knowledge of keys, scripts or what is stored.

mod error;
mod keeper;
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
    time::Duration,
};

pub use redis;
use redis::{IntoConnectionInfo, RedisResult, aio::MultiplexedConnection, io::tcp::TcpSettings};
use tokio::{
    runtime::{Builder, Handle},
    sync::oneshot,
};

pub use self::error::Error;
use self::keeper::Shared;

/// How many commands of [`Link::send`] may wait for their answer at a time.
const MAX_SENT: usize = 256;

/// A connection to one Redis server, kept up in the background.
pub struct Link {
    shared: Arc<Shared>,
    runtime: Handle,
    sent: Arc<AtomicUsize>,
    worker: Mutex<Option<Worker>>,
}

/// The thread that the runtime lives on.
struct Worker {
    stop: oneshot::Sender<()>,
    stopped: oneshot::Receiver<()>,
    thread: thread::JoinHandle<()>,
}

impl Link {
    /// Starts a link. Waits for the first connection, but no longer than `timeout`: a server that is away
    /// now is looked for in the background.
    ///
    /// `timeout` also bounds every command.
    ///
    /// # Errors
    ///
    /// When the URL is none that Redis knows (`redis://[user:password@]host[:port][/database]`), or the
    /// thread cannot be started. The message does not repeat the URL, which may hold a password.
    pub fn open(url: &str, timeout: Duration) -> Result<Self, String> {
        let client = url
            .into_connection_info()
            // Commands are small writes, which would wait for acknowledgements otherwise.
            .map(|info| info.set_tcp_settings(TcpSettings::default().set_nodelay(true)))
            .and_then(redis::Client::open)
            .map_err(|error| format!("redis url: {error}"))?;
        let runtime = Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| format!("cannot start a runtime: {error}"))?;
        let handle = runtime.handle().clone();
        let shared = Arc::new(Shared::new(timeout));
        let (stop, stopping) = oneshot::channel();
        let (say_stopped, stopped) = oneshot::channel();
        let (first, first_try) = mpsc::sync_channel(1);
        let keeping = Arc::clone(&shared);
        let run = move || {
            runtime.block_on(async {
                tokio::select! {
                    () = keeper::keep(&keeping, &client, first) => {}
                    _ = stopping => {}
                }
            });
            keeping.take();
            // A name lookup may still block a helper thread; nobody waits for it.
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

    /// Is there a connection, as far as is known?
    pub fn is_up(&self) -> bool {
        self.shared.is_up()
    }

    /// Runs a command (or a script, or several commands) and waits for its answer, at most the timeout.
    ///
    /// # Errors
    ///
    /// At once when there is no connection. After a timeout or a broken connection, those that follow get
    /// that answer until the server is back.
    pub async fn call<T, F, A>(&self, command: F) -> Result<T, Error>
    where
        T: Send + 'static,
        F: FnOnce(MultiplexedConnection) -> A + Send + 'static,
        A: Future<Output = RedisResult<T>> + Send,
    {
        if !self.is_up() {
            return Err(Error::Away);
        }
        let shared = Arc::clone(&self.shared);
        let answer = self.runtime.spawn(async move { shared.run(command).await });
        // Fails only when the runtime is gone.
        answer.await.unwrap_or(Err(Error::Away))
    }

    /// Runs a command without waiting for it. `false`, and nothing is done, when there is no connection or
    /// 256 such commands are under way.
    pub fn send<T, F, A>(&self, command: F) -> bool
    where
        T: Send + 'static,
        F: FnOnce(MultiplexedConnection) -> A + Send + 'static,
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

    /// Ends the connection and the thread, and waits until they are gone. Later calls find no connection.
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

/// One of the commands under way, counted until it is dropped.
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
