//! Applies a plan: stages its changes on a copy of the list of instances, then publishes all of them as one snapshot.
//!
//! Nothing is published if a change of the plan fails (rules L1, L2, D3). A change that follows from a file in the folders
//! fails by itself: it is reported, and hinders no other. Every event of the registry ends here.

use std::sync::Arc;

use tokio::sync::mpsc;

use super::{
    Queue, Registry,
    change::Change,
    desired::{Desired, Running},
    guards::{Guards, inactive, weakened},
    instance::{Instance, events},
    plan::{Attempt, Plan, RefusedFile, plan},
    retire::Retirement,
    settings::RegistrySettings,
};
use crate::{
    pipeline::snapshot::Snapshot,
    plugins::{
        library::{inspect::InspectedLibrary, load::LoadedLibrary},
        report::{
            changed::Changed,
            error::PluginError,
            events::{Edition, PluginEvent},
            info::PluginInfo,
            undone::Undone,
        },
    },
};

/// The instances of a change under way. Those that were made for it are retired when this is dropped before it is
/// published, whatever the reason: an error, or a caller that stops waiting.
struct Staged<'r> {
    retirement: &'r Arc<Retirement>,
    before: Vec<Instance>,
    instances: Vec<Instance>,
}

impl<'r> Staged<'r> {
    fn new(retirement: &'r Arc<Retirement>, before: &[Instance]) -> Self {
        Self { retirement, before: before.to_vec(), instances: before.to_vec() }
    }

    /// Returns the instances, which are kept.
    fn publish(mut self) -> Vec<Instance> {
        std::mem::take(&mut self.instances)
    }
}

impl Drop for Staged<'_> {
    fn drop(&mut self) {
        for instance in Instance::missing(std::mem::take(&mut self.instances), &self.before) {
            self.retirement.begin(instance);
        }
    }
}

impl Registry {
    /// Changes what runs to what is desired.
    pub(super) async fn apply(
        &self,
        queue: &mut Queue,
        desired: Desired,
        settings: Arc<RegistrySettings>,
        guards: Guards,
    ) -> Result<Changed, PluginError> {
        if self.alive().is_none() {
            return Err(PluginError::PipelineClosed);
        }
        let before = self.instances().clone();
        if let Some(look) = &desired.look {
            self.refusals().retain(|path| look.files.iter().any(|file| file.path == path));
        }
        let Plan { changes, attempts, refused, sound, undone } =
            plan(&running(&before), &queue.desired, &desired, &self.refusals());
        let mut staged = Staged::new(&self.retirement, &before);
        queue.stage.settings = settings.clone();
        for change in changes {
            if let Err(error) = self.stage(queue, &mut staged.instances, change, &before).await {
                queue.stage.settings = self.settings.load_full();
                return Err(error);
            }
        }
        let mut changed = Changed { undone, ..Changed::default() };
        for file in refused {
            changed.refused.extend(self.refuse(file, &before));
        }
        for file in sound {
            self.refusals().retain(|path| path != file.path);
        }
        for Attempt { file, change, replaces, undoes } in attempts {
            let mut alone = Staged::new(&self.retirement, &staged.instances);
            alone.instances.retain(|it| replaces.as_deref() != Some(it.name()));
            match self.attempt(queue, &mut alone.instances, change, &file, &before).await {
                Ok(()) => {
                    staged.instances = alone.publish();
                    changed.undone.extend(undoes);
                }
                Err(error) => changed.refused.extend(error),
            }
        }
        queue.stage.place(&mut staged.instances);
        if guards == Guards::Keep
            && let Some(error) = self.weakens(&before, &staged.instances)
        {
            queue.stage.settings = self.settings.load_full();
            // Files may have been refused on the way.
            self.check_required(&queue.desired);
            return Err(error);
        }
        let after = {
            let alive = self.alive();
            let Some(alive) = &*alive else { return Err(PluginError::PipelineClosed) };
            let after = staged.publish();
            self.settings.store(settings);
            changed.plugins = self.publish(alive, before, &after);
            after
        };
        queue.desired = desired.settled(&running(&after));
        self.check_required(&queue.desired);
        changed.undone.iter().for_each(Undone::audit);
        Ok(changed)
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
    async fn stage(
        &self,
        queue: &mut Queue,
        instances: &mut Vec<Instance>,
        change: Change,
        before: &[Instance],
    ) -> Result<(), PluginError> {
        let (attempted, name) = change.title();
        queue.stage.loader.tried = None;
        let Err(error) = queue.stage.make(instances, change).await else { return Ok(()) };
        let running = before.iter().find(|instance| instance.name() == name);
        let tried = queue.stage.loader.tried.take();
        if let Some(path) = running.and_then(Instance::path).filter(|_| attempted == "reload") {
            // The old generation serves on; the list shows the reason.
            let file = tried.as_ref().filter(|tried| tried.path == path);
            match file {
                Some(file) => self.refusals().note(file, &error),
                None => self.refusals().note(&InspectedLibrary::new(path), &error),
            };
        }
        self.tell_refused(attempted, name, running, tried.as_ref(), &error);
        Err(error)
    }

    /// Makes a change that follows from a file. Returns the reason of a refusal, unless it was reported before.
    async fn attempt(
        &self,
        queue: &mut Queue,
        instances: &mut Vec<Instance>,
        change: Change,
        file: &InspectedLibrary,
        before: &[Instance],
    ) -> Result<(), Option<PluginError>> {
        let (attempted, name) = change.title();
        let uses = |instance: &Instance| instance.path() == Some(&file.path);
        if attempted == "load" && instances.iter().any(uses) {
            // An instance that came before in this plan uses the library.
            return Ok(());
        }
        queue.stage.loader.tried = None;
        let Err(error) = queue.stage.make(instances, change).await else { return Ok(()) };
        if !self.refusals().note(file, &error) {
            return Err(None);
        }
        let running = before.iter().find(|instance| instance.name() == name);
        let tried = queue.stage.loader.tried.take();
        self.tell_refused(attempted, name, running, tried.as_ref(), &error);
        Err(Some(error))
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
    fn tell_refused(
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
    fn publish(
        &self,
        alive: &mpsc::Sender<()>,
        before: Vec<Instance>,
        after: &[Instance],
    ) -> Vec<PluginInfo> {
        let entries =
            after.iter().filter(|instance| instance.enabled).map(|instance| instance.entry.clone()).collect();
        *self.instances() = after.to_vec();
        let snapshot = Arc::new(Snapshot { _alive: Some(alive.clone()), ..Snapshot::new(entries) });
        self.retirement.follow(&snapshot);
        self.snapshot.store(snapshot);
        // A new image was made from the file as it is; other changes say nothing about the file.
        let had =
            |new: &LoadedLibrary| Instance::libraries(&before).any(|old| Arc::ptr_eq(&old.image, &new.image));
        for library in Instance::libraries(after).filter(|new| !had(new)) {
            self.refusals().retain(|path| path != library.path);
        }
        let events = events(&before, after);
        let is_changed = |instance: &&Instance| events.iter().any(|event| event.name == instance.name());
        let changed = after.iter().filter(is_changed).map(|instance| self.info(instance)).collect();
        for event in events {
            self.tell(event);
        }
        for instance in Instance::missing(before, after) {
            self.retirement.begin(instance);
        }
        changed
    }
}

fn running(instances: &[Instance]) -> Vec<Running> {
    instances.iter().map(Instance::running).collect()
}
