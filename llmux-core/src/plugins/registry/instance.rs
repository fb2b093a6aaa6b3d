//! An instance of a plugin, with its settings, its library and its place in the pipeline.

use std::{
    path::Path,
    sync::{Arc, Mutex, PoisonError},
    time::SystemTime,
};

use llmux_abi::raw::plugin::PluginModuleRef;
use serde_json::Value;
use tokio::sync::oneshot;

use super::desired::{Running, RunningLibrary};
use crate::{
    isolation::plan::Supervised,
    pipeline::{
        HookKind,
        failed::FailedHooks,
        hook::Hooks,
        snapshot::{Entry, Lease},
    },
    plugins::{
        library::{
            inspect::InspectedLibrary,
            isolation::Isolation,
            load::LoadedLibrary,
            manifest::{Manifest, OnError, Reload},
            sandbox::SandboxSettings,
        },
        report::{
            events::{Edition, PluginEvent, PluginEventKind, actor},
            info::{self, Origin, PluginInfo, PluginKind, PluginState, ProcessInfo},
        },
    },
};

/// An instance. Cheap to clone: a change works on a copy of the list.
#[derive(Clone)]
pub(super) struct Instance {
    pub(super) plugin: Arc<str>,
    pub(super) manifest: Option<Arc<Manifest>>,
    /// Makes the instance again with other settings; `None` for one made by hand, and for an isolated one.
    pub(super) module: Option<PluginModuleRef>,
    pub(super) library: Option<LoadedLibrary>,
    pub(super) isolation: Isolation,
    /// Rights and limits of its child process.
    pub(super) sandbox: Arc<SandboxSettings>,
    /// The operator's isolation, rights and limits, without the registry's.
    pub(super) own_isolation: Option<Isolation>,
    pub(super) own_sandbox: Arc<SandboxSettings>,
    /// The child process of an isolated instance.
    pub(super) process: Option<Arc<dyn Supervised>>,
    /// The operator's settings; `None` is the manifest's or the pipeline's.
    pub(super) priority: Option<i32>,
    pub(super) on_error: Option<OnError>,
    pub(super) sha256: Option<Arc<str>>,
    pub(super) config: Arc<Value>,
    pub(super) enabled: bool,
    pub(super) origin: Origin,
    /// Number of the spec that it was made from; 0 for an autoloaded one.
    pub(super) id: u64,
    pub(super) entry: Arc<Entry>,
    pub(super) home: Home,
    pub(super) loaded_at: SystemTime,
    /// Set if the change under way makes the instance when its old one is gone. Its entry is the old one's until then.
    pub(super) pending: Option<Pending>,
    /// The reason for which there are no hooks but failing ones.
    pub(super) failed: Option<Arc<str>>,
}

/// The making of an exclusive instance, which waits until the old one is gone (rule D4).
#[derive(Clone)]
pub(super) struct Pending {
    /// The file that the change opened.
    pub(super) tried: Option<Arc<InspectedLibrary>>,
}

/// Receiver of an instance's hooks when the last snapshot has released them.
#[derive(Clone)]
pub(super) struct Home(Arc<Mutex<Option<Returned>>>);

/// Receives the instance when the last snapshot has released it.
type Returned = oneshot::Receiver<Box<dyn Hooks>>;

impl Home {
    pub(super) fn new(receiver: Returned) -> Self {
        Self(Arc::new(Mutex::new(Some(receiver))))
    }

    /// A home to which no instance returns.
    fn of_none() -> Self {
        Self(Arc::default())
    }

    pub(super) fn take(&self) -> Option<Returned> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl Instance {
    pub(super) fn name(&self) -> &str {
        &self.entry.name
    }

    pub(super) fn path(&self) -> Option<&Path> {
        self.library.as_ref().map(|library| library.path.as_path())
    }

    /// The libraries of a list of instances.
    pub(super) fn libraries(instances: &[Instance]) -> impl Iterator<Item = &LoadedLibrary> {
        instances.iter().filter_map(|instance| instance.library.as_ref())
    }

    /// True if the plugin cannot run twice: two instances of this name cannot live at once (rule D4).
    pub(super) fn is_exclusive(&self) -> bool {
        is_exclusive(self.manifest.as_deref())
    }

    /// Returns all that the instance was made from, with failing hooks in the place of its own.
    pub(super) fn vacant(&self, why: &str) -> Self {
        let (lease, _) = Lease::new(Box::new(FailedHooks::new(self.lease().hooks(), why)));
        let entry = Arc::new(self.entry.with_lease(lease));
        Self { entry, home: Home::of_none(), ..self.clone() }
    }

    fn lease(&self) -> &Arc<Lease> {
        &self.entry.lease
    }

    /// True if both are the same instance, at any place.
    pub(super) fn is_same_instance(&self, other: &Instance) -> bool {
        Arc::ptr_eq(self.lease(), other.lease())
    }

    /// True if both are the same instance at the same place.
    pub(super) fn is_same_entry(&self, other: &Instance) -> bool {
        Arc::ptr_eq(&self.entry, &other.entry)
    }

    /// Returns the instances of a list that another list does not hold.
    pub(super) fn missing(instances: Vec<Instance>, others: &[Instance]) -> Vec<Instance> {
        let kept = |instance: &Instance| others.iter().any(|other| other.is_same_instance(instance));
        instances.into_iter().filter(|instance| !kept(instance)).collect()
    }

    /// Tells the operator that the plugin does not see streamed answers (rule S5).
    pub(super) fn warn_of_missed_streams(&self) {
        if self.manifest.as_ref().is_some_and(|manifest| manifest.misses_streams()) {
            tracing::warn!(
                instance = self.name(),
                plugin = &*self.plugin,
                "streamed answers are not seen by this plugin: it has a post_hook, and no hook for chunks or texts. Its author \
                 can write `on_text`, or say in the manifest that this is intended (`streams`)"
            );
        }
    }

    /// Returns the row of the list of plugins.
    pub(super) fn info(&self) -> PluginInfo {
        let library = self.library.as_ref();
        let has = |hook: &HookKind| self.lease().hooks().has(*hook);
        let (short_circuits, cached) = self.entry.stats.short_circuits();
        PluginInfo {
            name: self.entry.name.to_string(),
            plugin: self.plugin.to_string(),
            version: self.manifest.as_ref().map(|manifest| manifest.version.to_string()),
            kind: if library.is_some() { PluginKind::Library } else { PluginKind::Static },
            library: library.map(|library| library.path.clone()),
            copy_in_memory: library.is_some_and(|library| library.in_memory),
            state: match self.failed {
                Some(_) => PluginState::Failed,
                None if self.enabled => PluginState::Active,
                None => PluginState::Disabled,
            },
            priority: self.entry.priority,
            on_error: if self.entry.fails_request { OnError::Fail } else { OnError::Continue },
            generation: library.map_or(0, |library| library.generation),
            sha256: library.map(|library| library.sha256.to_string()),
            loaded_at: info::seconds(self.loaded_at),
            file_missing: library.is_some_and(|library| info::is_gone(&library.path)),
            origin: self.origin,
            misses_streams: self.manifest.as_ref().is_some_and(|manifest| manifest.misses_streams()),
            error: self.failed.as_deref().map(str::to_owned),
            isolation: self.isolation,
            process: self.process.as_ref().map(|process| ProcessInfo::of(process.facts())),
            streams: self.manifest.as_ref().and_then(|manifest| manifest.streams),
            implements: HookKind::ALL.iter().filter(|hook| has(hook)).map(|hook| hook.as_str()).collect(),
            short_circuits,
            cached,
            hooks: info::hooks(&self.entry.stats),
        }
    }

    /// Returns what a plan depends on.
    pub(super) fn running(&self) -> Running {
        Running {
            id: self.id,
            name: self.name().to_owned(),
            origin: self.origin,
            plugin: self.plugin.to_string(),
            library: self.library.as_ref().map(|library| RunningLibrary {
                path: library.path.clone(),
                sha256: library.sha256.to_string(),
                missing: info::is_gone(&library.path),
            }),
            enabled: self.enabled,
            priority: self.priority,
            on_error: self.on_error,
            fails_closed: self.entry.fails_request,
            failed: self.failed.is_some(),
            config: Value::clone(&self.config),
            isolation: self.own_isolation,
            sandbox: SandboxSettings::clone(&self.own_sandbox),
        }
    }

    /// Returns the edition of the plugin that it runs.
    pub(super) fn edition(&self) -> Edition {
        let library = self.library.as_ref();
        Edition {
            plugin: self.plugin.to_string(),
            version: self.manifest.as_ref().map(|manifest| manifest.version.to_string()),
            library: library.map(|library| library.path.clone()),
            sha256: library.map(|library| library.sha256.to_string()),
            generation: library.map_or(0, |library| library.generation),
        }
    }
}

/// True if the manifest says that two instances of one name cannot live at once.
pub(super) fn is_exclusive(manifest: Option<&Manifest>) -> bool {
    manifest.is_some_and(|manifest| manifest.reload == Reload::Exclusive)
}

/// Returns the events of a change of the list of instances.
pub(super) fn events(before: &[Instance], after: &[Instance]) -> Vec<PluginEvent> {
    let find = |instances: &[Instance], name: &str| {
        instances.iter().find(|instance| instance.name() == name).cloned()
    };
    let event = |kind, name: &str, old: Option<&Instance>, new: Option<&Instance>| PluginEvent {
        kind,
        name: name.to_owned(),
        old: old.map(Instance::edition),
        new: new.map(Instance::edition),
        attempted: None,
        error: None,
        by: actor(),
    };
    // An instance of another origin under the same name is another instance, not a new version.
    let find = |instances: &[Instance], other: &Instance| {
        find(instances, other.name()).filter(|instance| instance.origin == other.origin)
    };
    let gone = before.iter().filter(|instance| find(after, instance).is_none());
    let mut events: Vec<_> = gone
        .map(|instance| event(PluginEventKind::Unloaded, instance.name(), Some(instance), None))
        .collect();
    for instance in after {
        let old = find(before, instance);
        let made = match &old {
            None => Some(PluginEventKind::Loaded),
            Some(old) if !old.is_same_instance(instance) => Some(PluginEventKind::Reloaded),
            Some(old) if !old.is_same_entry(instance) => Some(PluginEventKind::Updated),
            Some(_) => None,
        };
        let was_enabled = old.as_ref().is_none_or(|old| old.enabled);
        let switched = match (was_enabled, instance.enabled) {
            (true, false) => Some(PluginEventKind::Disabled),
            (false, true) => Some(PluginEventKind::Enabled),
            _ => None,
        };
        events.extend(
            made.into_iter()
                .chain(switched)
                .map(|kind| event(kind, instance.name(), old.as_ref(), Some(instance))),
        );
    }
    events
}
