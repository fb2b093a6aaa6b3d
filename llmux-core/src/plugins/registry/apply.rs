//! Applies a plan: stages its changes on a copy of the list of instances, then publishes all of them as one snapshot.
//!
//! Nothing is published if a change of the plan fails (rules L1, L2, D3). A change that follows from a file in the folders
//! fails by itself: it is reported, and hinders no other. Exclusive instances are made last (rule D4): `exclusive` makes
//! them. Every event of the registry ends here.

use std::sync::Arc;

use tokio::sync::{OwnedMutexGuard, mpsc};

use super::{
    Queue, Registry,
    change::Change,
    desired::{Desired, Running},
    guards::{Guards, inactive, weakened},
    instance::{Instance, events, is_exclusive},
    plan::{Attempt, Plan, RefusedFile, plan},
    settings::RegistrySettings,
    staged::Staged,
};
use crate::{
    pipeline::snapshot::Snapshot,
    plugins::{
        library::{inspect::InspectedLibrary, load::LoadedLibrary},
        report::{
            changed::Changed,
            error::PluginError,
            events::{Edition, PluginEvent, acting_as, actor},
            info::PluginInfo,
            undone::Undone,
        },
    },
};

/// A change of which every step is made that needs no exclusive instance to go.
struct Conclusion {
    queue: OwnedMutexGuard<Queue>,
    staged: Staged,
    settings: Arc<RegistrySettings>,
    desired: Desired,
    changed: Changed,
    /// Changes that follow from files, of exclusive instances.
    later: Vec<Attempt>,
}

impl Registry {
    /// Changes what runs to what is desired.
    pub(super) async fn apply(
        self: &Arc<Self>,
        mut queue: OwnedMutexGuard<Queue>,
        desired: Desired,
        settings: Arc<RegistrySettings>,
        guards: Guards,
    ) -> Result<Changed, PluginError> {
        if self.alive().is_none() {
            return Err(PluginError::PipelineClosed);
        }
        let mut staged = Staged::new(&self.retirement, self.instances().clone());
        if let Some(look) = &desired.look {
            self.refusals().retain(|path| look.files.iter().any(|file| file.path == path));
        }
        let Plan { changes, attempts, refused, sound, undone } =
            plan(&running(&staged.before), &queue.desired, &desired, &self.refusals());
        queue.stage.settings = settings.clone();
        for change in changes {
            if let Err(error) = self.stage(&mut queue, &mut staged, change).await {
                queue.stage.settings = self.settings.load_full();
                return Err(error);
            }
        }
        let mut changed = Changed { undone, ..Changed::default() };
        for file in refused {
            changed.refused.extend(self.refuse(file, &staged.before));
        }
        for file in sound {
            self.refusals().retain(|path| path != file.path);
        }
        let (later, attempts): (Vec<_>, Vec<_>) =
            attempts.into_iter().partition(|attempt| concerns_exclusive(attempt, &staged.before));
        for mut attempt in attempts {
            let undoes = attempt.undoes.take();
            let mut alone = Staged::new(&self.retirement, staged.instances.clone());
            if self.attempt(&mut queue, &mut alone, attempt, &mut changed.refused).await {
                staged.instances = alone.publish().1;
                changed.undone.extend(undoes);
            }
        }
        queue.stage.place(&mut staged.instances);
        if guards == Guards::Keep
            && let Some(error) = self.weakens(&staged.before, &staged.instances)
        {
            queue.stage.settings = self.settings.load_full();
            // Files may have been refused on the way.
            self.check_required(&queue.desired);
            return Err(error);
        }
        let conclusion = Conclusion { queue, staged, settings, desired, changed, later };
        if conclusion.staged.pending().is_empty() && conclusion.later.is_empty() {
            return self.conclude(conclusion).await;
        }
        // A caller that stops waiting must not cost an exclusive instance its life.
        let (this, by) = (self.clone(), actor());
        let change = async move { this.conclude(conclusion).await };
        let change = async move {
            match by {
                Some(by) => acting_as(by, change).await,
                None => change.await,
            }
        };
        self.retirement.runtime.spawn(change).await.unwrap_or(Err(PluginError::PipelineClosed))
    }

    /// Makes the exclusive instances of a staged change, publishes it, and makes the later attempts.
    async fn conclude(&self, conclusion: Conclusion) -> Result<Changed, PluginError> {
        let Conclusion { mut queue, staged, settings, desired, mut changed, later } = conclusion;
        match self.publish(&mut queue, staged, Some(settings)).await {
            Ok(plugins) => changed.plugins = plugins,
            Err(error) => {
                queue.stage.settings = self.settings.load_full();
                self.check_required(&queue.desired);
                return Err(error);
            }
        }
        queue.desired = desired.settled(&running(&self.instances()));
        for mut attempt in later {
            let undoes = attempt.undoes.take();
            let mut alone = Staged::new(&self.retirement, self.instances().clone());
            if !self.attempt(&mut queue, &mut alone, attempt, &mut changed.refused).await {
                continue;
            }
            match self.publish(&mut queue, alone, None).await {
                Ok(plugins) => {
                    changed.plugins.extend(plugins);
                    changed.undone.extend(undoes);
                }
                Err(error) => changed.refused.push(error),
            }
            queue.desired = std::mem::take(&mut queue.desired).settled(&running(&self.instances()));
        }
        self.check_required(&queue.desired);
        changed.undone.iter().for_each(Undone::audit);
        Ok(changed)
    }

    /// Makes the exclusive instances of a staged change, and publishes it. Returns the instances that are new or changed.
    async fn publish(
        &self,
        queue: &mut Queue,
        mut staged: Staged,
        settings: Option<Arc<RegistrySettings>>,
    ) -> Result<Vec<PluginInfo>, PluginError> {
        // Requests enter again when this is dropped, after the new snapshot is there.
        let _held = match staged.pending() {
            names if names.is_empty() => None,
            names => Some(self.replace(&mut queue.stage, &mut staged, names).await?),
        };
        let alive = self.alive();
        let Some(alive) = &*alive else { return Err(PluginError::PipelineClosed) };
        let (before, after) = staged.publish();
        if let Some(settings) = settings {
            self.settings.store(settings);
        }
        Ok(self.publish_list(alive, before, after))
    }

    /// Returns the error of a change after which instances do not fail closed any more, and reports each of them.
    fn weakens(&self, before: &[Instance], after: &[Instance]) -> Option<PluginError> {
        let weakened = weakened(&running(before), &running(after));
        let guards = weakened.iter().map(|(name, state)| format!("`{name}` would be {state}"));
        let error = PluginError::Weakens { guards: guards.collect::<Vec<_>>().join(", ") };
        for (name, _) in &weakened {
            let running = before.iter().find(|instance| instance.name() == name);
            self.tell_refused("weaken", name.clone(), running, None, &error);
        }
        (!weakened.is_empty()).then_some(error)
    }

    /// Keeps the required instances that are not active, and reports them if they differ from those before.
    fn check_required(&self, desired: &Desired) {
        let settings = self.settings.load();
        let instances = self.instances().clone();
        let infos: Vec<_> = instances.iter().map(Instance::info).collect();
        let rows = self.refusals().rows(&infos);
        let inactive = inactive(&settings.plugins.required, desired, &running(&instances), &rows);
        if **self.inactive.load() == inactive {
            return;
        }
        match inactive.join(", ") {
            names if names.is_empty() => tracing::info!("ready: every required instance is active"),
            names => tracing::warn!("not ready: required instances are not active: {names}"),
        }
        self.inactive.store(Arc::new(inactive));
    }

    /// Makes a change of the plan, or reports why it was refused.
    async fn stage(&self, queue: &mut Queue, staged: &mut Staged, change: Change) -> Result<(), PluginError> {
        let (attempted, name) = change.title();
        queue.stage.loader.tried = None;
        let Err(error) = queue.stage.make(staged, change).await else { return Ok(()) };
        let running = staged.before.iter().find(|instance| instance.name() == name);
        let tried = queue.stage.loader.tried.take();
        if let Some(path) = running.and_then(Instance::path).filter(|_| attempted == "reload") {
            // The old generation serves on; the list shows the reason.
            let file = tried.as_ref().filter(|tried| tried.path == path);
            match file {
                Some(file) => self.refusals().note(file, &error),
                None => self.refusals().note(&InspectedLibrary::new(path), &error),
            };
        }
        self.tell_refused(attempted, name, running, tried.as_deref(), &error);
        Err(error)
    }

    /// Makes a change that follows from a file. Returns false if it was refused; the reason is in the list then, unless it
    /// was reported before.
    async fn attempt(
        &self,
        queue: &mut Queue,
        alone: &mut Staged,
        attempt: Attempt,
        refused: &mut Vec<PluginError>,
    ) -> bool {
        let Attempt { file, change, replaces, undoes: _ } = attempt;
        let (attempted, name) = change.title();
        let uses = |instance: &Instance| instance.path() == Some(&file.path);
        alone.instances.retain(|it| replaces.as_deref() != Some(it.name()));
        queue.stage.loader.tried = None;
        // An instance that came before in this plan may use the library.
        let is_used = attempted == "load" && alone.instances.iter().any(uses);
        let Err(error) = (if is_used { Ok(()) } else { queue.stage.make(alone, change).await }) else {
            return true;
        };
        if self.refusals().note(&file, &error) {
            let instances = self.instances().clone();
            let running = instances.iter().find(|instance| instance.name() == name);
            let tried = queue.stage.loader.tried.take();
            self.tell_refused(attempted, name, running, tried.as_deref(), &error);
            refused.push(error);
        }
        false
    }

    /// Reports a file that is refused before it is loaded. Returns the reason, unless it was reported before.
    fn refuse(&self, refused: RefusedFile, before: &[Instance]) -> Option<PluginError> {
        let RefusedFile { file, why, user } = refused;
        let error = PluginError::Refused { path: file.path.clone(), why };
        if !self.refusals().note(&file, &error) {
            return None;
        }
        let running = before.iter().find(|instance| Some(instance.name()) == user.as_deref());
        let file_name =
            || file.path.file_name().unwrap_or(file.path.as_os_str()).to_string_lossy().into_owned();
        let attempted = if running.is_some() { "reload" } else { "load" };
        self.tell_refused(attempted, user.clone().unwrap_or_else(file_name), running, Some(&file), &error);
        Some(error)
    }

    /// Reports that a change of this instance was refused, with the edition that runs and the file that was tried.
    pub(super) fn tell_refused(
        &self,
        attempted: &'static str,
        name: String,
        running: Option<&Instance>,
        tried: Option<&InspectedLibrary>,
        error: &PluginError,
    ) {
        let (running, tried) = (running.map(Instance::edition), tried.and_then(Edition::tried));
        self.tell(PluginEvent::refused(attempted, name, running, tried, error.to_string()));
    }

    /// Publishes the list as one snapshot, and reports each difference. Returns the instances that are new or changed.
    fn publish_list(
        &self,
        alive: &mpsc::Sender<()>,
        before: Vec<Instance>,
        after: Vec<Instance>,
    ) -> Vec<PluginInfo> {
        self.instances().clone_from(&after);
        self.show(alive, &after);
        // A new image was made from the file as it is; other changes say nothing about the file.
        let had = |new: &LoadedLibrary| Instance::libraries(&before).any(|old| old.is_same_code(new));
        for library in Instance::libraries(&after).filter(|new| !had(new)) {
            self.refusals().retain(|path| path != library.path);
        }
        let events = events(&before, &after);
        let is_changed = |instance: &&Instance| events.iter().any(|event| event.name == instance.name());
        let changed = after.iter().filter(is_changed).map(|instance| self.info(instance)).collect();
        for event in events {
            self.tell(event);
        }
        for instance in Instance::missing(before, &after) {
            self.retirement.begin(instance);
        }
        changed
    }

    /// Lets new requests enter a pipeline of these instances.
    pub(super) fn show(&self, alive: &mpsc::Sender<()>, instances: &[Instance]) {
        let enabled = instances.iter().filter(|instance| instance.enabled);
        let entries = enabled.map(|instance| instance.entry.clone()).collect();
        let snapshot = Arc::new(Snapshot { _alive: Some(alive.clone()), ..Snapshot::new(entries) });
        self.retirement.follow(&snapshot);
        self.snapshot.store(snapshot);
    }
}

/// True if a change that follows from a file may make an exclusive instance anew: then it is made by itself, after all
/// others.
fn concerns_exclusive(attempt: &Attempt, running: &[Instance]) -> bool {
    let Attempt { file, replaces, .. } = attempt;
    let is_concerned =
        |it: &&Instance| it.path() == Some(&file.path) || replaces.as_deref() == Some(it.name());
    let mut concerned = running.iter().filter(is_concerned).peekable();
    concerned.peek().is_some()
        && (is_exclusive(file.manifest.as_ref()) || concerned.any(Instance::is_exclusive))
}

fn running(instances: &[Instance]) -> Vec<Running> {
    instances.iter().map(Instance::running).collect()
}
