//! The registry: which instances there are, and every change of them.
//!
//! A change is staged in full (files checked, images loaded, instances made) before anything is published, and
//! what is published is one new snapshot: a request sees all of a change or nothing of it (rules L1, L2, D3).
//! Changes queue on one mutex; requests never wait for it. What leaves the pipeline goes to `retire`.

pub(super) mod change;
mod find;
pub(super) mod instance;
mod refusals;
pub(super) mod rescan;
pub(super) mod retire;
mod schema;
pub(super) mod settings;
pub(super) mod spec;
mod stage;

use std::{
    path::PathBuf,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use arc_swap::ArcSwap;
use llmux_abi::host::Compiled;
use tokio::sync::{Mutex as AsyncMutex, broadcast, mpsc};

use self::{
    change::Change,
    find::{discover_blocking, discover_in},
    instance::{Instance, events},
    refusals::Problems,
    retire::{Retirement, ShutdownReport, Unloaded},
    settings::PluginsConfig,
    spec::PluginSpec,
    stage::Stage,
};
use super::{
    library::{
        discover::distinct,
        inspect::InspectedLibrary,
        load::{LoadedLibrary, Stuck},
    },
    report::{
        error::PluginError,
        events::{Edition, PluginEvent},
        info::{PluginInfo, RetiredImages},
    },
};
use crate::{
    boundary::{host::HostShared, library::Retired},
    pipeline::{PipelineConfig, snapshot::Snapshot},
};

/// All plugins of a client, and the way to change them.
pub struct Registry {
    snapshot: ArcSwap<Snapshot>,
    /// The instances, in the order of registration. Locked for moments only.
    instances: Mutex<Vec<Instance>>,
    retirement: Arc<Retirement>,
    retired: Arc<Retired>,
    problems: Problems,
    refused: AtomicU64,
    events: broadcast::Sender<PluginEvent>,
    stuck: Stuck,
    /// Held for the length of a change.
    queue: AsyncMutex<Queue>,
    config: PluginsConfig,
}

/// What only changes touch.
struct Queue {
    stage: Stage,
    /// Held by every snapshot; `None` once the pipeline is closed.
    alive: Option<mpsc::Sender<()>>,
    all_gone: mpsc::Receiver<()>,
}

impl Registry {
    pub(crate) fn new(
        shared: Arc<HostShared>,
        compiled: Vec<Compiled>,
        pipeline: PipelineConfig,
        mut config: PluginsConfig,
    ) -> Result<Self, PluginError> {
        config.dirs = distinct(config.dirs);
        let retired = Arc::new(Retired::default());
        let retirement = Arc::new(Retirement::new(pipeline.post_hook_timeout));
        let (alive, all_gone) = mpsc::channel(1);
        let first = Snapshot { _alive: Some(alive.clone()), ..Snapshot::default() };
        let stage = Stage::new(shared, retired.clone(), compiled, pipeline, config.clone())?;
        Ok(Self {
            snapshot: ArcSwap::from_pointee(first),
            instances: Mutex::default(),
            retirement,
            retired,
            problems: Problems::default(),
            refused: AtomicU64::new(0),
            events: broadcast::Sender::new(256),
            stuck: stage.loader.stuck.clone(),
            queue: AsyncMutex::new(Queue { stage, alive: Some(alive), all_gone }),
            config,
        })
    }

    /// The pipeline as it is now.
    pub(crate) fn snapshot(&self) -> Arc<Snapshot> {
        self.snapshot.load_full()
    }

    /// Makes an instance and puts it into the pipeline.
    ///
    /// # Errors
    ///
    /// Why it was refused; the pipeline is then as it was.
    pub async fn load(&self, spec: PluginSpec) -> Result<PluginInfo, PluginError> {
        let loaded = self.change(vec![Change::Load(spec)]).await?;
        loaded.into_iter().next().ok_or(PluginError::PipelineClosed)
    }

    /// Takes an instance out of the pipeline, waits for the requests that use it (at most the drain timeout),
    /// cleans it up and drops it. Its library is not autoloaded again until its file is another; [`Change::Unload`] makes
    /// no such promise.
    ///
    /// # Errors
    ///
    /// When there is no such instance.
    pub async fn unload(&self, name: &str) -> Result<Unloaded, PluginError> {
        self.attempt(vec![Change::Unload(name.to_owned())], None, true).await?;
        Ok(self.retirement.gone(name, self.config.drain_timeout).await)
    }

    /// Makes several changes in one new snapshot, or none of them. Gives the instances that are new or changed.
    ///
    /// # Errors
    ///
    /// The first that cannot be made; the pipeline is then as it was.
    pub async fn change(&self, changes: Vec<Change>) -> Result<Vec<PluginInfo>, PluginError> {
        self.attempt(changes, None, false).await
    }

    /// The same, and tells of a refusal only if that is not for this reason, which was told before. Libraries that
    /// are left unused stay out of the pipeline, if that is wanted.
    pub(super) async fn attempt(
        &self,
        changes: Vec<Change>,
        told: Option<&str>,
        stay_out: bool,
    ) -> Result<Vec<PluginInfo>, PluginError> {
        let mut queue = self.queue.lock().await;
        let Some(alive) = queue.alive.clone() else { return Err(PluginError::PipelineClosed) };
        let before = self.instances().clone();
        let mut after = before.clone();
        for change in changes {
            let (attempted, name) = change.title();
            queue.stage.loader.tried = None;
            if let Err(error) = queue.stage.make(&mut after, change).await {
                self.retire(Instance::missing(after, &before));
                let running = before.iter().find(|instance| instance.name() == name);
                let tried = queue.stage.loader.tried.take();
                if let Some(path) = running.and_then(Instance::path).filter(|_| attempted == "reload") {
                    // The old generation serves on; the operator sees why in the list.
                    let sha256 = tried.as_ref().and_then(|tried| tried.sha256.as_deref());
                    self.problems.note(path, sha256, &error);
                }
                let why = error.to_string();
                if told != Some(&*why) {
                    self.tell(PluginEvent::refused(
                        attempted,
                        name,
                        running.map(Instance::edition),
                        tried.as_ref().and_then(Edition::tried),
                        why,
                    ));
                }
                return Err(error);
            }
        }
        let entries =
            after.iter().filter(|instance| instance.enabled).map(|instance| instance.entry.clone()).collect();
        let snapshot = Snapshot { _alive: Some(alive), ..Snapshot::new(entries) };
        if stay_out {
            // Before anybody can find the library unused.
            for left in Instance::libraries(&before)
                .filter(|left| !Instance::libraries(&after).any(|it| it.path == left.path))
            {
                self.problems.note_unloaded(&left.path, &left.sha256);
            }
        }
        *self.instances() = after.clone();
        self.snapshot.store(Arc::new(snapshot));
        let events = events(&before, &after);
        let is_changed = |instance: &&Instance| events.iter().any(|event| event.name == instance.name());
        let changed: Vec<_> = after.iter().filter(is_changed).map(|instance| self.info(instance)).collect();
        // Another image came of the file as it is; whatever else changed says nothing about the file.
        let had =
            |new: &LoadedLibrary| Instance::libraries(&before).any(|old| Arc::ptr_eq(&old.image, &new.image));
        for library in Instance::libraries(&after).filter(|new| !had(new)) {
            self.problems.retain(|other| other != library.path);
        }
        for event in events {
            self.tell(event);
        }
        self.retire(Instance::missing(before, &after));
        Ok(changed)
    }

    /// Tells of every change from here on, in their order. A reader that is more than 256 behind misses the oldest, and
    /// is told so (`RecvError::Lagged`); the audit log misses none.
    pub fn subscribe(&self) -> broadcast::Receiver<PluginEvent> {
        self.events.subscribe()
    }

    /// How many loads and reloads of libraries were refused.
    pub fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }

    /// Tells the log and whoever listens.
    pub(super) fn tell(&self, event: PluginEvent) {
        if matches!(event.attempted, Some("load" | "reload")) {
            self.refused.fetch_add(1, Ordering::Relaxed);
        }
        event.audit();
        // Nobody may be listening.
        let _ = self.events.send(event);
    }

    fn info(&self, instance: &Instance) -> PluginInfo {
        let error = instance.path().and_then(|path| self.problems.of(path)).map(|problem| problem.why);
        PluginInfo { error, ..instance.info() }
    }

    /// The libraries in the plugin folders. Reads and hashes every file, on a thread that may block.
    ///
    /// # Errors
    ///
    /// When a folder cannot be read.
    pub async fn discover(&self) -> Result<Vec<InspectedLibrary>, PluginError> {
        self.stuck.check()?;
        discover_blocking(&self.config).await
    }

    /// The same, with a folder that cannot be read in the place of its libraries: the others still count.
    pub(super) async fn discover_what_is_there(&self) -> Result<Vec<InspectedLibrary>, PluginError> {
        self.stuck.check()?;
        let mut found = Vec::new();
        for dir in &self.config.dirs {
            match discover_in(vec![dir.clone()], self.config.verify_options()).await {
                Ok(more) => found.extend(more),
                Err(PluginError::Library { path, error }) => {
                    found.push(InspectedLibrary::refused(path, error));
                }
                Err(error) => tracing::warn!("plugin folder {}: {error}", dir.display()),
            }
        }
        Ok(found)
    }

    /// Every instance, in the order of the pipeline; then those that are draining, and the libraries that were
    /// refused.
    pub fn list(&self) -> Vec<PluginInfo> {
        let mut instances = self.instances().clone();
        instances.sort_by_key(|instance| (instance.entry.priority, instance.entry.order));
        let mut list: Vec<_> = instances.iter().map(|instance| self.info(instance)).collect();
        list.extend(self.retirement.list());
        let unused = |path: &PathBuf| !instances.iter().any(|instance| instance.path() == Some(path));
        let refused = self.problems.all().into_iter().filter(|(path, _)| unused(path));
        list.extend(refused.map(|(path, problem)| problem.info(path)));
        list
    }

    /// The images that no instance uses any more.
    pub fn retired(&self) -> RetiredImages {
        RetiredImages::of(&self.retired)
    }

    /// Refuses new requests, waits for those under way, and cleans every instance up, last one first (rule L3).
    pub async fn shutdown(&self, drain: Duration) -> ShutdownReport {
        let mut queue = self.queue.lock().await;
        queue.alive = None;
        let mut instances = std::mem::take(&mut *self.instances());
        self.snapshot.store(Arc::new(Snapshot { closed: true, ..Snapshot::default() }));
        instances.sort_by_key(|instance| (instance.entry.priority, instance.entry.order));
        let report = self.retirement.shut_down(instances, &mut queue.all_gone, drain).await;
        // Whatever else holds on to this registry: nothing is loaded from here on.
        queue.stage.loader.remove_copies();
        report
    }

    /// How long a cleanup that begins from here on may take.
    pub(crate) fn set_cleanup_timeout(&self, timeout: Duration) {
        self.retirement.set_cleanup_timeout(timeout);
    }

    fn retire(&self, instances: Vec<Instance>) {
        for instance in instances {
            self.retirement.begin(instance);
        }
    }

    fn instances(&self) -> MutexGuard<'_, Vec<Instance>> {
        self.instances.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
