//! The desired state: the instances that each origin wants, and what operators changed about them.
//!
//! Each event (a start, a reload of the configuration, a look at the folders, a change by an operator) edits a copy of
//! it: `edit` holds the changes by operators. `plan` compares the result with what runs. Plain data; nothing here loads
//! or reads anything.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    sync::Arc,
};

use serde_json::Value;

use super::{
    sandbox_change::SandboxChange,
    setting::Setting,
    spec::{PluginSource, PluginSpec},
};
use crate::plugins::{
    library::{inspect::InspectedLibrary, isolation::Isolation, manifest::OnError, sandbox::SandboxSettings},
    report::info::Origin,
};

/// The instances that should run.
#[derive(Clone, Default)]
pub(super) struct Desired {
    /// Specs of every origin but [`Origin::Folder`]; those of the configuration come first.
    pub(super) specs: Vec<PluginSpec>,
    /// Whether each unused library in the folders gets an instance of its own (rule D8).
    pub(super) autoload: bool,
    /// The plugin folders.
    pub(super) dirs: Vec<PathBuf>,
    /// The libraries that a look found; `None` if this event did not look.
    pub(super) look: Option<Look>,
    /// Instances whose library an operator wants loaded anew.
    pub(super) anew: BTreeSet<String>,
    /// Instances that an operator gave a configuration, and that are made anew even if it is equal (rule D4).
    pub(super) remade: BTreeSet<String>,
    /// Changes by operators of instances of the configuration and of the folders, by the instances' names.
    pub(super) overrides: BTreeMap<String, Override>,
    /// Instances of the configuration that failed closed when they ran last.
    pub(super) guards: BTreeSet<String>,
    /// Libraries that an operator unloaded, with the SHA-256 of their bytes: not autoloaded until the bytes change.
    pub(super) kept_out: BTreeMap<PathBuf, String>,
    /// Number of the next spec.
    next: u64,
}

/// The result of a look at the plugin folders.
#[derive(Clone)]
pub(super) struct Look {
    pub(super) files: Vec<Arc<InspectedLibrary>>,
    pub(super) bytes: Bytes,
}

/// The bytes that instances of a library in the folders should run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Bytes {
    /// The bytes that the instances run.
    AsLoaded,
    /// The bytes that the file holds now.
    AsInFile,
}

/// An operator's changes of an instance.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Override {
    pub(super) presence: Option<Presence>,
    pub(super) priority: Setting<i32>,
    pub(super) on_error: Setting<OnError>,
    pub(super) config: Setting<Value>,
    pub(super) isolation: Setting<Isolation>,
    pub(super) sandbox: SandboxChange,
}

/// An operator's decision whether an instance runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Presence {
    Unloaded,
    Disabled,
    Enabled,
}

/// A running instance, as far as a plan depends on it.
#[derive(Clone, Debug)]
pub(super) struct Running {
    /// Number of the spec that it was made from; 0 for an autoloaded one.
    pub(super) id: u64,
    pub(super) name: String,
    pub(super) origin: Origin,
    pub(super) plugin: String,
    pub(super) library: Option<RunningLibrary>,
    pub(super) enabled: bool,
    pub(super) priority: Option<i32>,
    pub(super) on_error: Option<OnError>,
    /// True if it fails closed: by its own setting, the manifest's or the pipeline's.
    pub(super) fails_closed: bool,
    /// True if only its failing hooks are in the pipeline (rule D4).
    pub(super) failed: bool,
    pub(super) config: Value,
    /// Its own isolation, rights and limits, without the registry's.
    pub(super) isolation: Option<Isolation>,
    pub(super) sandbox: SandboxSettings,
}

/// The library of a running instance.
#[derive(Clone, Debug)]
pub(super) struct RunningLibrary {
    pub(super) path: PathBuf,
    pub(super) sha256: String,
    /// True if the file is gone.
    pub(super) missing: bool,
}

impl Running {
    pub(super) fn path(&self) -> Option<&Path> {
        self.library.as_ref().map(|library| library.path.as_path())
    }

    /// True if the file of its library is gone.
    pub(super) fn is_missing(&self) -> bool {
        self.library.as_ref().is_some_and(|library| library.missing)
    }
}

impl Override {
    fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

impl Desired {
    /// Adds a spec and numbers it.
    pub(super) fn add(&mut self, spec: PluginSpec) {
        self.next += 1;
        self.specs.push(PluginSpec { id: self.next, ..spec });
    }

    /// Numbers a spec anew, so that it makes another instance even if one of it runs. Returns the number.
    pub(super) fn renumber(&mut self, id: u64) -> u64 {
        self.next += 1;
        self.specs.iter_mut().filter(|spec| spec.id == id).for_each(|spec| spec.id = self.next);
        self.next
    }

    /// Replaces what the configuration wants. A spec of the same plugin keeps its instance; what operators changed about
    /// the instances that the configuration names is dropped.
    pub(super) fn configure(&mut self, specs: Vec<PluginSpec>) {
        let (before, others): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.specs).into_iter().partition(|spec| spec.origin == Origin::Config);
        for spec in specs {
            let same = before.iter().find(|old| old.name == spec.name && old.makes_the_same(&spec));
            if let Some(name) = &spec.name {
                self.overrides.remove(name);
            }
            match same {
                Some(old) => self.specs.push(PluginSpec { id: old.id, ..spec }),
                None => self.add(spec),
            }
        }
        self.specs.extend(others);
    }

    /// Returns the configuration's spec of an instance.
    pub(super) fn configured(&self, name: &str) -> Option<&PluginSpec> {
        self.of_config().find(|spec| spec.name.as_deref() == Some(name))
    }

    fn of_config(&self) -> impl Iterator<Item = &PluginSpec> {
        self.specs.iter().filter(|spec| spec.origin == Origin::Config)
    }

    /// True if the configuration names this library, enabled or not: then it is not autoloaded.
    pub(super) fn names_library(&self, file: &InspectedLibrary) -> bool {
        let plugin = file.accepted().ok().map(|manifest| manifest.name.as_str());
        self.of_config().any(|spec| spec.source.is_path(&file.path) || spec.source.is_plugin(plugin))
    }

    /// True if an autoloaded instance has the name, the plugin or the library of one that the configuration names.
    pub(super) fn displaces(&self, autoloaded: &Running) -> bool {
        self.of_config().any(|spec| {
            spec.name.as_deref() == Some(&autoloaded.name)
                || spec.source.is_plugin(Some(&autoloaded.plugin))
                || autoloaded.path().is_some_and(|path| spec.source.is_path(path))
        })
    }

    /// The desired state after its changes were made: settled on the instances that run now.
    pub(super) fn settled(mut self, running: &[Running]) -> Self {
        let by_id = |id: u64| running.iter().find(|it| it.id == id && it.origin != Origin::Folder);
        // A spec of an operator that no instance was made from gave way to the configuration's.
        self.specs.retain(|spec| spec.origin == Origin::Config || by_id(spec.id).is_some());
        for spec in &mut self.specs {
            if let Some(instance) = by_id(spec.id) {
                spec.name = Some(instance.name.clone());
            }
        }
        let overrides = std::mem::take(&mut self.overrides);
        for (name, mut change) in overrides {
            let autoloaded = running.iter().any(|it| it.name == name && it.origin == Origin::Folder);
            let own = match self.configured(&name) {
                Some(spec) => InstanceSettings::of(spec),
                None if autoloaded => InstanceSettings::default(),
                None => continue,
            };
            change.normalize(&own);
            if !change.is_empty() {
                self.overrides.insert(name, change);
            }
        }
        for instance in running.iter().filter(|it| it.origin == Origin::Config) {
            match instance.fails_closed {
                true => self.guards.insert(instance.name.clone()),
                false => self.guards.remove(&instance.name),
            };
        }
        let mut guards = std::mem::take(&mut self.guards);
        guards.retain(|name| self.configured(name).is_some());
        self.guards = guards;
        self.kept_out.retain(|path, _| !running.iter().any(|it| it.path() == Some(path)));
        self.look = None;
        self.anew.clear();
        self.remade.clear();
        self
    }
}

/// The settings of an instance that can change while it runs.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct InstanceSettings {
    pub(super) enabled: bool,
    pub(super) priority: Option<i32>,
    pub(super) on_error: Option<OnError>,
    pub(super) config: Option<Value>,
    pub(super) isolation: Option<Isolation>,
    pub(super) sandbox: SandboxSettings,
}

impl Default for InstanceSettings {
    fn default() -> Self {
        let (isolation, sandbox) = <_>::default();
        Self { enabled: true, priority: None, on_error: None, config: None, isolation, sandbox }
    }
}

impl InstanceSettings {
    pub(super) fn of(spec: &PluginSpec) -> Self {
        let PluginSpec { enabled, priority, on_error, config, isolation, sandbox, .. } = spec;
        Self {
            enabled: *enabled,
            priority: *priority,
            on_error: *on_error,
            config: config.clone(),
            isolation: *isolation,
            sandbox: sandbox.clone(),
        }
    }

    /// Returns the settings with an operator's changes; `None` if the operator unloaded the instance.
    pub(super) fn with(self, change: Option<&Override>) -> Option<Self> {
        let Some(change) = change else { return Some(self) };
        let enabled = match change.presence {
            Some(Presence::Unloaded) => return None,
            Some(Presence::Disabled) => false,
            Some(Presence::Enabled) => true,
            None => self.enabled,
        };
        Some(Self {
            enabled,
            priority: change.priority.after(self.priority),
            on_error: change.on_error.after(self.on_error),
            config: change.config.clone().after(self.config),
            isolation: change.isolation.after(self.isolation),
            sandbox: change.sandbox.after(&self.sandbox),
        })
    }
}

impl Override {
    /// Drops what changes nothing.
    fn normalize(&mut self, own: &InstanceSettings) {
        match self.presence {
            Some(Presence::Enabled) if own.enabled => self.presence = None,
            Some(Presence::Disabled) if !own.enabled => self.presence = None,
            _ => {}
        }
        if self.priority.after(own.priority) == own.priority {
            self.priority = Setting::Keep;
        }
        if self.on_error.after(own.on_error) == own.on_error {
            self.on_error = Setting::Keep;
        }
        if self.config.clone().after(own.config.clone()) == own.config {
            self.config = Setting::Keep;
        }
        if self.isolation.after(own.isolation) == own.isolation {
            self.isolation = Setting::Keep;
        }
        self.sandbox.normalize(&own.sandbox);
    }
}

impl PluginSource {
    fn is_path(&self, path: &Path) -> bool {
        matches!(self, PluginSource::Path(own) if own == path)
    }

    fn is_plugin(&self, plugin: Option<&str>) -> bool {
        matches!(self, PluginSource::Plugin(own) if Some(own.as_str()) == plugin)
    }
}
