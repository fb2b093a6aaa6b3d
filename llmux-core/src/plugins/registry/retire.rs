//! The end of instances that leave the pipeline: waits for the requests that still use one, then calls `cleanup`, ends
//! its tasks and drops it (rules C2, D5, L3).

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use arc_swap::ArcSwap;
use tokio::{
    runtime::Handle,
    sync::{Mutex as AsyncMutex, mpsc, watch},
    task::{JoinError, JoinHandle, spawn_blocking},
    time::{Instant, timeout, timeout_at},
};

use super::{instance::Instance, settings::RegistrySettings};
use crate::{
    pipeline::{
        hook::Hooks,
        snapshot::{Lease, Snapshot},
        stats::Stats,
    },
    plugins::report::info::{PluginInfo, PluginState, hooks},
};

/// Progress of an unload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Unloaded {
    /// The instance is cleaned up and dropped.
    Gone,
    /// Requests still use the instance; the cleanup follows when they have ended.
    Draining,
}

/// Result of a shutdown.
#[derive(Debug, Default)]
pub struct ShutdownReport {
    /// True if every request ended in time.
    pub drained: bool,
    /// The instances whose cleanup failed, or that were still in use, and why.
    pub errors: Vec<(String, String)>,
}

/// The instances that are draining.
pub(super) struct Retirement {
    draining: Mutex<Vec<Draining>>,
    /// The snapshots that requests may hold.
    snapshots: Mutex<Vec<Weak<Snapshot>>>,
    /// Names of the instances that a shutdown has not cleaned up yet.
    ending: Mutex<Vec<String>>,
    /// Number of instances so far.
    begun: AtomicU64,
    /// Raised whenever an instance is gone.
    changed: watch::Sender<u64>,
    /// Read when a cleanup begins.
    settings: Arc<ArcSwap<RegistrySettings>>,
    /// Runs the cleanups, also if a thread outside of the runtime drops a change that was not published.
    pub(super) runtime: Handle,
}

/// A draining instance, without a reference that would keep it alive.
struct Draining {
    number: u64,
    info: PluginInfo,
    stats: Arc<Stats>,
}

impl Retirement {
    pub(super) fn new(runtime: Handle, settings: Arc<ArcSwap<RegistrySettings>>) -> Self {
        Self {
            draining: Mutex::default(),
            snapshots: Mutex::default(),
            ending: Mutex::default(),
            begun: AtomicU64::new(0),
            changed: watch::Sender::new(0),
            settings,
            runtime,
        }
    }

    /// Returns the instances that requests still use, with the present counts of their hooks.
    pub(super) fn list(&self) -> Vec<PluginInfo> {
        let draining = self.draining();
        let infos = draining.iter().map(|it| PluginInfo { hooks: hooks(&it.stats), ..it.info.clone() });
        infos.collect()
    }

    /// Keeps track of a snapshot that is published.
    pub(super) fn follow(&self, snapshot: &Arc<Snapshot>) {
        let mut snapshots = self.snapshots.lock().unwrap_or_else(PoisonError::into_inner);
        snapshots.retain(|it| it.strong_count() > 0);
        snapshots.push(Arc::downgrade(snapshot));
    }

    /// Waits until no request holds this instance. New requests must be held back meanwhile.
    pub(super) async fn released(&self, lease: &Weak<Lease>) {
        let snapshots = self.snapshots.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let held = snapshots.iter().filter_map(Weak::upgrade).filter(|snapshot| snapshot.holds(lease));
        let held: Vec<_> = held.map(|snapshot| snapshot.gone.subscribe()).collect();
        for mut gone in held {
            while gone.changed().await.is_ok() {}
        }
    }

    /// Ends the requests that hold this instance.
    fn end_requests(&self, lease: &Weak<Lease>) {
        let snapshots = self.snapshots.lock().unwrap_or_else(PoisonError::into_inner).clone();
        for snapshot in snapshots.iter().filter_map(Weak::upgrade) {
            if snapshot.holds(lease) {
                snapshot.over.send_replace(true);
            }
        }
    }

    /// Releases an instance, and cleans it up in a task of its own. Returns the number of its end; `None` if it is taken
    /// already.
    pub(super) fn begin(self: &Arc<Self>, instance: Instance) -> Option<u64> {
        let mut home = instance.home.take()?;
        let lease = Arc::downgrade(&instance.entry.lease);
        let info = PluginInfo { state: PluginState::Draining, ..instance.info() };
        let (name, stats) = (info.name.clone(), instance.entry.stats.clone());
        let number = self.begun.fetch_add(1, Ordering::Relaxed);
        self.draining().push(Draining { number, info, stats });
        drop(instance);
        let this = self.clone();
        self.runtime.spawn(async move {
            let max_drain = this.settings.load().plugins.max_drain;
            let returned = match timeout(max_drain, &mut home).await {
                Ok(returned) => returned,
                Err(_) => {
                    tracing::warn!(
                        instance = name,
                        "requests still use it after {max_drain:?}, and are ended"
                    );
                    this.end_requests(&lease);
                    home.await
                }
            };
            if let Ok(instance) = returned {
                let mut ending = this.clean_up(instance);
                let result = match ending.within_bound().await {
                    Some(result) => result,
                    None => {
                        tracing::warn!(instance = name, "the instance is stuck: {STUCK}");
                        this.mark_stuck(number);
                        ending.whenever().await
                    }
                };
                if let Err(error) = result {
                    tracing::warn!(instance = name, "cleanup failed: {error}");
                }
            }
            this.draining().retain(|it| it.number != number);
            this.changed.send_modify(|count| *count += 1);
        });
        Some(number)
    }

    /// Shows in the list that an instance does not end.
    fn mark_stuck(&self, number: u64) {
        if let Some(it) = self.draining().iter_mut().find(|it| it.number == number) {
            it.info.state = PluginState::Stuck;
        }
    }

    /// Waits until no instance of this name is draining, for a bounded time.
    pub(super) async fn gone(&self, name: &str, wait: Duration) -> Unloaded {
        self.none_drains(|it| it.info.name == name, wait).await
    }

    /// Waits for an end that has begun, for the time that the end of one instance may take.
    pub(super) async fn ended(&self, number: u64) -> Unloaded {
        self.none_drains(|it| it.number == number, self.bound()).await
    }

    async fn none_drains(&self, is_meant: impl Fn(&Draining) -> bool, wait: Duration) -> Unloaded {
        let mut changed = self.changed.subscribe();
        let gone = changed.wait_for(|_| !self.draining().iter().any(&is_meant));
        match timeout(wait, gone).await {
            Ok(_) => Unloaded::Gone,
            Err(_) => Unloaded::Draining,
        }
    }

    /// Cleans all instances up, the last one first. `all_gone` closes when no request holds a snapshot any more.
    pub(super) async fn shut_down(
        &self,
        instances: Vec<Instance>,
        all_gone: &AsyncMutex<mpsc::Receiver<()>>,
        drain: Duration,
    ) -> ShutdownReport {
        let homes = instances.into_iter().map(|it| Some((it.name().to_owned(), it.home.take()?)));
        let homes: Vec<_> = homes.flatten().collect();
        let names = homes.iter().map(|(name, _)| name.clone()).collect();
        *self.ending.lock().unwrap_or_else(PoisonError::into_inner) = names;
        let deadline = Instant::now() + drain;
        let gone = async { all_gone.lock().await.recv().await };
        let drained = timeout_at(deadline, gone).await.is_ok();
        let mut report = ShutdownReport { drained, errors: Vec::new() };
        for (name, home) in homes.into_iter().rev() {
            let result = match timeout_at(deadline, home).await {
                Ok(Ok(instance)) => {
                    let ended = self.clean_up(instance).within_bound().await;
                    ended.unwrap_or_else(|| Err(STUCK.to_owned()))
                }
                Ok(Err(_)) => Ok(()),
                Err(_) => Err("requests still use it".to_owned()),
            };
            match result {
                Err(error) => report.errors.push((name, error)),
                Ok(()) => {
                    let mut ending = self.ending.lock().unwrap_or_else(PoisonError::into_inner);
                    ending.retain(|it| *it != name);
                }
            }
        }
        // Waits for the instances that were unloaded just before.
        let mut changed = self.changed.subscribe();
        let _ = timeout_at(deadline, changed.wait_for(|_| self.draining().is_empty())).await;
        report
    }

    /// Returns the names of the instances whose end has begun and is not over. Never waits for a lock.
    pub(super) fn unfinished(&self) -> Vec<String> {
        let ending = self.ending.try_lock().map(|names| names.clone()).unwrap_or_default();
        let draining = self.draining.try_lock();
        let draining = draining.iter().flat_map(|list| list.iter().map(|it| it.info.name.clone()));
        ending.into_iter().chain(draining).collect()
    }

    /// Returns the longest time for the end of one instance.
    pub(super) fn bound(&self) -> Duration {
        // The hook has its bound, and its tasks and its drop have the same time again. An instance is not dropped while a
        // task of its own runs.
        self.settings.load().pipeline.post_hook_timeout.saturating_mul(2)
    }

    /// Begins to clean an instance up, in a task of its own.
    fn clean_up(&self, instance: Box<dyn Hooks>) -> Ending {
        let bound = self.bound();
        Ending { cleaning: self.runtime.spawn(clean_up(instance, bound / 2)), bound }
    }

    fn draining(&self) -> MutexGuard<'_, Vec<Draining>> {
        self.draining.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The reason for which an instance does not end.
const STUCK: &str = "its cleanup, its tasks or its drop still hold a thread";

/// The end of an instance, which runs in a task of its own.
struct Ending {
    cleaning: JoinHandle<Result<(), String>>,
    bound: Duration,
}

impl Ending {
    /// Returns the result, or `None` if there is none within the bound.
    async fn within_bound(&mut self) -> Option<Result<(), String>> {
        timeout(self.bound, &mut self.cleaning).await.ok().map(result)
    }

    /// Returns the result whenever it comes.
    async fn whenever(self) -> Result<(), String> {
        result(self.cleaning.await)
    }
}

fn result(cleaned: Result<Result<(), String>, JoinError>) -> Result<(), String> {
    cleaned.unwrap_or_else(|_| Err("panicked".to_owned()))
}

async fn clean_up(instance: Box<dyn Hooks>, timeout: Duration) -> Result<(), String> {
    let result = instance.clean_up(timeout).await.map_err(|failure| failure.message);
    // The plugin's own drop may block.
    let _ = spawn_blocking(move || drop(instance)).await;
    result
}
