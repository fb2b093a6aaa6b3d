//! The registry: the instances that run, and every change of them.
//!
//! Each event edits a copy of the desired state (`desired`, `edit`), `plan` compares it with what runs, and `apply` stages
//! the changes and publishes one new snapshot: a request sees all of a change or nothing of it (rules L1, L2, D3).
//! Changes queue on one mutex; requests never wait for it. An instance that leaves the pipeline goes to `retire`.

mod apply;
pub(super) mod change;
mod construct;
mod desired;
mod edit;
mod entrance;
mod exclusive;
mod find;
pub(super) mod guards;
mod instance;
mod isolate;
mod plan;
mod plugin;
mod refusals;
pub(super) mod retire;
pub(super) mod sandbox_change;
mod schema;
pub(super) mod setting;
pub(super) mod settings;
pub(super) mod spec;
mod stage;
mod staged;

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use arc_swap::ArcSwap;
use llmux_abi::host::Compiled;
use tokio::{
    sync::{Mutex as AsyncMutex, OwnedMutexGuard, broadcast, mpsc, watch},
    time::timeout,
};

use self::{
    change::Change,
    desired::{Bytes, Desired, Look},
    edit::Edit,
    find::{discover_blocking, discover_in},
    guards::{Guards, with_failed},
    instance::Instance,
    refusals::Refusals,
    retire::{Retirement, ShutdownReport, Unloaded},
    settings::{PluginsConfig, RegistrySettings},
    spec::PluginSpec,
    stage::Stage,
};
use super::{
    library::{inspect::InspectedLibrary, load::Stuck},
    report::{
        changed::Changed,
        error::PluginError,
        events::PluginEvent,
        info::{Origin, PluginInfo, RetiredImages},
    },
};
use crate::{
    boundary::{host::HostShared, library::Retired},
    pipeline::snapshot::{Entrance, Snapshot},
};

/// All plugins of a client, and the functions that change them.
pub struct Registry {
    snapshot: ArcSwap<Snapshot>,
    /// The instances, in the order of registration. Locked for moments only.
    instances: Mutex<Vec<Instance>>,
    retirement: Arc<Retirement>,
    retired: Arc<Retired>,
    refusals: Mutex<Refusals>,
    refused: AtomicU64,
    /// The required instances that are not active.
    inactive: ArcSwap<Vec<String>>,
    events: broadcast::Sender<PluginEvent>,
    stuck: Stuck,
    /// Held by every snapshot; `None` once the pipeline is closed. Locked for moments only, and apart from the queue: a
    /// change that hangs must not hold up the end.
    alive: Mutex<Option<mpsc::Sender<()>>>,
    /// Closes when the pipeline is closed and nothing holds a snapshot any more.
    all_gone: AsyncMutex<mpsc::Receiver<()>>,
    /// Raised when requests that wait at the entrance should look at the pipeline again.
    turns: watch::Sender<()>,
    /// Held for the length of a change.
    queue: Arc<AsyncMutex<Queue>>,
    settings: Arc<ArcSwap<RegistrySettings>>,
}

/// Longest wait of a shutdown for a change under way.
const LAST_CHANGE: Duration = Duration::from_secs(1);

/// State that only changes use.
struct Queue {
    stage: Stage,
    /// The desired state that the running instances were made by.
    desired: Desired,
}

impl Registry {
    pub(crate) fn new(
        shared: Arc<HostShared>,
        compiled: Vec<Compiled>,
        settings: RegistrySettings,
    ) -> Result<Self, PluginError> {
        let settings = Arc::new(settings.distinct());
        let shared_settings = Arc::new(ArcSwap::new(settings.clone()));
        let retired = Arc::new(Retired::default());
        let retirement = Arc::new(Retirement::new(shared.runtime.clone(), shared_settings.clone()));
        let (alive, all_gone) = mpsc::channel(1);
        let first = Snapshot { _alive: Some(alive.clone()), ..Snapshot::default() };
        let stage = Stage::new(shared, retired.clone(), compiled, settings)?;
        Ok(Self {
            snapshot: ArcSwap::from_pointee(first),
            instances: Mutex::default(),
            retirement,
            retired,
            refusals: Mutex::default(),
            refused: AtomicU64::new(0),
            inactive: ArcSwap::default(),
            events: broadcast::Sender::new(256),
            stuck: stage.loader.stuck.clone(),
            alive: Mutex::new(Some(alive)),
            all_gone: AsyncMutex::new(all_gone),
            turns: watch::Sender::default(),
            queue: Arc::new(AsyncMutex::new(Queue { stage, desired: Desired::default() })),
            settings: shared_settings,
        })
    }

    /// Returns the pipeline as it is now. A request takes it by [`enter`](Self::enter).
    pub(crate) fn snapshot(&self) -> Arc<Snapshot> {
        self.snapshot.load_full()
    }

    /// Makes the first instances: those of the specs, and the autoloaded ones.
    pub(crate) async fn start(self: &Arc<Self>, specs: Vec<PluginSpec>) -> Result<Changed, PluginError> {
        let queue = self.turn().await;
        let settings = self.settings.load_full();
        let mut desired = queue.desired.clone();
        specs.into_iter().for_each(|spec| desired.add(spec));
        self.follow(&mut desired, &settings).await;
        self.apply(queue, desired, settings, Guards::Weaken).await
    }

    /// Applies other settings, and the specs of the configuration ([`Origin::Config`]) in place of those before: all of
    /// it, or nothing.
    pub(crate) async fn configure(
        self: &Arc<Self>,
        settings: RegistrySettings,
        mut specs: Vec<PluginSpec>,
        guards: Guards,
    ) -> Result<Changed, PluginError> {
        let queue = self.turn().await;
        let settings = Arc::new(settings.distinct());
        let mut desired = queue.desired.clone();
        specs.retain(|spec| spec.origin == Origin::Config);
        desired.configure(specs);
        let is_failed = |it: &&Instance| it.failed.is_some() && it.origin == Origin::Config;
        desired.remade.extend(self.instances().iter().filter(is_failed).map(|it| it.name().to_owned()));
        self.follow(&mut desired, &settings).await;
        self.apply(queue, desired, settings, guards).await
    }

    /// Takes the settings of the folders, and looks for libraries to autoload.
    async fn follow(&self, desired: &mut Desired, settings: &RegistrySettings) {
        desired.autoload = settings.plugins.autoload;
        desired.dirs.clone_from(&settings.plugins.dirs);
        if desired.autoload {
            match self.look(&settings.plugins).await {
                Ok(files) => desired.look = Some(Look { files, bytes: Bytes::AsLoaded }),
                Err(error) => tracing::warn!("nothing is autoloaded: {error}"),
            }
        }
    }

    /// Looks at the plugin folders again: reloads libraries whose bytes changed, autoloads new ones (with
    /// [`autoload`](PluginsConfig::autoload)), and unloads autoloaded instances whose file is gone, unless they fail closed
    /// (rules D6, D8). A file or folder that is refused is reported and hinders no other.
    ///
    /// # Errors
    ///
    /// [`PluginError::LoaderBusy`] while nothing can be loaded, [`PluginError::PipelineClosed`] after a shutdown.
    pub async fn rescan(self: &Arc<Self>) -> Result<Changed, PluginError> {
        let queue = self.turn().await;
        let settings = self.settings.load_full();
        let mut desired = queue.desired.clone();
        let files = self.look(&settings.plugins).await?;
        desired.look = Some(Look { files, bytes: Bytes::AsInFile });
        self.apply(queue, desired, settings, Guards::Weaken).await
    }

    /// Makes an instance and puts it into the pipeline.
    ///
    /// If the configuration names an instance of this name and plugin, which an operator unloaded, that instance comes back
    /// with the settings of the configuration and those that the spec gives.
    ///
    /// # Errors
    ///
    /// The reason why the instance was refused; the pipeline is then as it was.
    pub async fn load(self: &Arc<Self>, spec: PluginSpec) -> Result<PluginInfo, PluginError> {
        let loaded = self.change(vec![Change::Load(spec)]).await?;
        loaded.into_iter().next().ok_or(PluginError::PipelineClosed)
    }

    /// Unloads an instance: takes it out of the pipeline, waits for the requests that use it (at most the drain timeout),
    /// cleans it up and drops it. Its library is not autoloaded until the bytes of the file change.
    ///
    /// # Errors
    ///
    /// [`PluginError::PluginNotFound`], [`PluginError::PipelineClosed`].
    pub async fn unload(self: &Arc<Self>, name: &str) -> Result<Unloaded, PluginError> {
        self.unload_with(name, Guards::Weaken).await
    }

    /// As [`unload`](Self::unload), with a decision about instances that fail closed.
    ///
    /// # Errors
    ///
    /// Also [`PluginError::Weakens`].
    pub async fn unload_with(self: &Arc<Self>, name: &str, guards: Guards) -> Result<Unloaded, PluginError> {
        self.change_with(vec![Change::Unload(name.to_owned())], guards).await?;
        Ok(self.retirement.gone(name, self.settings.load().plugins.drain_timeout).await)
    }

    /// Makes several changes in one new snapshot, or none of them. Returns the instances that are new or changed.
    ///
    /// # Errors
    ///
    /// The first change that was refused; the pipeline is then as it was.
    pub async fn change(self: &Arc<Self>, changes: Vec<Change>) -> Result<Vec<PluginInfo>, PluginError> {
        self.change_with(changes, Guards::Weaken).await
    }

    /// As [`change`](Self::change), with a decision about instances that fail closed.
    ///
    /// # Errors
    ///
    /// Also [`PluginError::Weakens`].
    pub async fn change_with(
        self: &Arc<Self>,
        changes: Vec<Change>,
        guards: Guards,
    ) -> Result<Vec<PluginInfo>, PluginError> {
        let queue = self.turn().await;
        if self.alive().is_none() {
            return Err(PluginError::PipelineClosed);
        }
        let settings = self.settings.load_full();
        let mut desired = queue.desired.clone();
        let present = self.instances().iter().map(Instance::running).collect();
        let mut edit = Edit { desired: &mut desired, present, max_plugins: settings.pipeline.max_plugins };
        for change in changes {
            let (attempted, name) = change.title();
            if let Err(error) = edit.make(change) {
                let running = self.instances().iter().find(|it| it.name() == name).map(Instance::edition);
                self.tell(PluginEvent::refused(attempted, name, running, None, error.to_string()));
                return Err(error);
            }
        }
        Ok(self.apply(queue, desired, settings, guards).await?.plugins)
    }

    /// Subscribes to all changes from now on, in their order. A reader that is more than 256 behind misses the oldest and
    /// receives `RecvError::Lagged`; the audit log misses none.
    pub fn subscribe(&self) -> broadcast::Receiver<PluginEvent> {
        self.events.subscribe()
    }

    /// Returns the number of loads and reloads of libraries that were refused.
    pub fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }

    /// Returns the required instances that are not active: those that [`PluginsConfig::required`] names, those of the
    /// configuration that fail closed, and the refused files of the folders whose manifest says `fail`. A failed instance
    /// is not active. An instance that the operator disabled is not required.
    pub fn inactive(&self) -> Arc<Vec<String>> {
        let inactive = self.inactive.load_full();
        let required = &self.settings.load().plugins.required;
        with_failed(inactive, &self.instances(), required)
    }

    /// Reports an event to the audit log and the subscribers.
    fn tell(&self, event: PluginEvent) {
        if matches!(event.attempted, Some("load" | "reload")) {
            self.refused.fetch_add(1, Ordering::Relaxed);
        }
        event.audit();
        // There may be no subscriber.
        let _ = self.events.send(event);
    }

    fn info(&self, instance: &Instance) -> PluginInfo {
        let info = instance.info();
        let refused = || instance.path().and_then(|path| self.refusals().why(path).map(str::to_owned));
        PluginInfo { error: info.error.or_else(refused), ..info }
    }

    /// Returns the libraries in the plugin folders. Reads and hashes every file, on a thread that may block.
    ///
    /// # Errors
    ///
    /// If a folder cannot be read, or nothing can be loaded ([`PluginError::LoaderBusy`]).
    pub async fn discover(&self) -> Result<Vec<InspectedLibrary>, PluginError> {
        self.stuck.check()?;
        discover_blocking(&self.settings.load_full().plugins).await
    }

    /// Returns the libraries in the folders, with a folder that cannot be read in the place of its libraries.
    async fn look(&self, config: &PluginsConfig) -> Result<Vec<Arc<InspectedLibrary>>, PluginError> {
        self.stuck.check()?;
        let mut files = Vec::new();
        for dir in &config.dirs {
            match discover_in(vec![dir.clone()], config.verify_options()).await {
                Ok(more) => files.extend(more.into_iter().map(Arc::new)),
                Err(PluginError::Library { path, error }) => {
                    files.push(Arc::new(InspectedLibrary::refused(path, error)));
                }
                Err(error) => tracing::warn!("plugin folder {}: {error}", dir.display()),
            }
        }
        Ok(files)
    }

    /// Returns every instance, in the order of the pipeline; then those that are draining, and the libraries that were
    /// refused.
    pub fn list(&self) -> Vec<PluginInfo> {
        let mut instances = self.instances().clone();
        instances.sort_by_key(|instance| (instance.entry.priority, instance.entry.order));
        let mut list: Vec<_> = instances.iter().map(|instance| self.info(instance)).collect();
        let refused = self.refusals().rows(&list);
        list.extend(self.retirement.list());
        list.extend(refused);
        list
    }

    /// Returns the number and size of the images that no instance uses any more.
    pub fn retired(&self) -> RetiredImages {
        RetiredImages::of(&self.retired)
    }

    /// Refuses new requests, waits for those under way, and cleans up every instance in descending order (rule L3).
    pub async fn shutdown(&self, drain: Duration) -> ShutdownReport {
        // A change under way finds the pipeline closed when it would publish.
        self.alive().take();
        let mut instances = std::mem::take(&mut *self.instances());
        self.snapshot.store(Arc::new(Snapshot { entrance: Entrance::Closed, ..Snapshot::default() }));
        self.turns.send_replace(());
        instances.sort_by_key(|instance| (instance.entry.priority, instance.entry.order));
        let report = self.retirement.shut_down(instances, &self.all_gone, drain).await;
        // Nothing is loaded after this, even if the registry is kept.
        if let Ok(queue) = timeout(LAST_CHANGE, self.queue.lock()).await {
            queue.stage.loader.remove_copies();
        }
        report
    }

    /// Returns the longest time that a shutdown with this `drain` takes, as long as the runtime has a free worker. Never
    /// waits, so that another thread can bound an end in which plugins block every worker.
    pub fn shutdown_bound(&self, drain: Duration) -> Duration {
        let instances = self.instances.try_lock().map_or(0, |instances| instances.len());
        let count = instances.max(self.retirement.unfinished().len());
        let cleanups = self.retirement.bound().saturating_mul(count as u32);
        [cleanups, LAST_CHANGE].into_iter().fold(drain, Duration::saturating_add)
    }

    /// Returns the names of the instances that are not cleaned up. Never waits.
    pub fn unfinished(&self) -> Vec<String> {
        let instances = self.instances.try_lock();
        let instances = instances.iter().flat_map(|list| list.iter().map(|it| it.name().to_owned()));
        self.retirement.unfinished().into_iter().chain(instances).collect()
    }

    /// Waits for the changes that came before.
    async fn turn(&self) -> OwnedMutexGuard<Queue> {
        self.queue.clone().lock_owned().await
    }

    fn alive(&self) -> MutexGuard<'_, Option<mpsc::Sender<()>>> {
        self.alive.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn instances(&self) -> MutexGuard<'_, Vec<Instance>> {
        self.instances.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn refusals(&self) -> MutexGuard<'_, Refusals> {
        self.refusals.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
