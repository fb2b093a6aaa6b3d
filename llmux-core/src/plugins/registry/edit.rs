//! Changes by an operator, or by the program that embeds the host, as edits of the desired state.
//!
//! The registry applies one `Edit` for each batch of changes; each change sees those before it. Names and the number of
//! instances are checked here, so that a batch is refused before any code of a plugin runs.

use super::{
    change::Change,
    desired::{Desired, Override, Presence, Running},
    sandbox_change::SandboxChange,
    setting::Setting,
    spec::{PluginSource, PluginSpec},
};
use crate::plugins::{
    library::manifest::is_name,
    report::{error::PluginError, info::Origin},
};

/// A batch of changes under way.
pub(super) struct Edit<'a> {
    pub(super) desired: &'a mut Desired,
    /// The instances that there are after the changes so far.
    pub(super) present: Vec<Running>,
    pub(super) max_plugins: usize,
}

impl Edit<'_> {
    /// Edits the desired state for one change.
    pub(super) fn make(&mut self, change: Change) -> Result<(), PluginError> {
        match change {
            Change::Load(spec) => self.load(spec),
            Change::Unload(name) => self.unload(&name),
            Change::Enable(name) => self.switch(&name, Presence::Enabled),
            Change::Disable(name) => self.switch(&name, Presence::Disabled),
            Change::Reload(name) => {
                let instance = self.find(&name)?;
                if instance.library.is_none() {
                    return Err(PluginError::NotALibrary { name });
                }
                self.desired.anew.insert(name);
                Ok(())
            }
            Change::Isolate { name, isolation, sandbox } => {
                let (id, origin) = self.find(&name).map(|it| (it.id, it.origin))?;
                if matches!(origin, Origin::Config | Origin::Folder) {
                    let own = self.desired.overrides.entry(name).or_default();
                    replace(&mut own.isolation, isolation);
                    own.sandbox.replace(sandbox);
                } else if let Some(spec) = self.spec(id) {
                    spec.isolation = isolation.after(spec.isolation);
                    spec.sandbox = sandbox.after(&spec.sandbox);
                }
                Ok(())
            }
            Change::Update { name, priority, on_error, config } => {
                let (id, origin) = self.find(&name).map(|it| (it.id, it.origin))?;
                if !config.is_keep() {
                    self.desired.remade.insert(name.clone());
                }
                if matches!(origin, Origin::Config | Origin::Folder) {
                    let own = self.desired.overrides.entry(name).or_default();
                    replace(&mut own.priority, priority);
                    replace(&mut own.on_error, on_error);
                    replace(&mut own.config, config);
                } else if let Some(spec) = self.spec(id) {
                    spec.priority = priority.after(spec.priority);
                    spec.on_error = on_error.after(spec.on_error);
                    spec.config = config.after(spec.config.take());
                }
                Ok(())
            }
        }
    }

    fn load(&mut self, spec: PluginSpec) -> Result<(), PluginError> {
        if let Some(name) = &spec.name
            && !is_name(name)
        {
            return Err(PluginError::InvalidName { name: name.clone() });
        }
        let named = spec.likely_name().map(str::to_owned);
        if let Some(name) = &named
            && self.find(name).is_ok()
        {
            return Err(PluginError::DuplicatePlugin { name: name.clone() });
        }
        if self.present.len() >= self.max_plugins {
            return Err(PluginError::TooManyPlugins { max: self.max_plugins });
        }
        if let PluginSource::Path(path) = &spec.source {
            self.desired.kept_out.remove(path);
        }
        let configured = named.as_deref().and_then(|name| self.desired.configured(name));
        let (id, origin) = match configured.filter(|configured| configured.is_meant_by(&spec)) {
            // The instance of the configuration comes back, with the settings that this change gives.
            Some(configured) => {
                let PluginSpec { priority, on_error, config, isolation, sandbox, .. } = spec;
                let change = Override {
                    presence: Some(Presence::Enabled),
                    priority: priority.map_or(Setting::Keep, Setting::Set),
                    on_error: on_error.map_or(Setting::Keep, Setting::Set),
                    config: config.map_or(Setting::Keep, Setting::Set),
                    isolation: isolation.map_or(Setting::Keep, Setting::Set),
                    sandbox: SandboxChange::to_given(&sandbox),
                };
                let id = configured.id;
                self.desired.overrides.insert(named.clone().unwrap_or_default(), change);
                (self.desired.renumber(id), Origin::Config)
            }
            None => {
                let origin = spec.origin;
                self.desired.add(spec);
                (self.desired.specs.last().map_or(0, |spec| spec.id), origin)
            }
        };
        self.present.push(Running {
            id,
            name: named.unwrap_or_default(),
            origin,
            plugin: String::new(),
            library: None,
            enabled: true,
            priority: None,
            on_error: None,
            fails_closed: false,
            failed: false,
            config: serde_json::Value::Null,
            isolation: None,
            sandbox: <_>::default(),
        });
        Ok(())
    }

    fn unload(&mut self, name: &str) -> Result<(), PluginError> {
        self.find(name)?;
        let at = self.present.iter().position(|it| it.name == name).unwrap_or_default();
        let Running { id, origin, library, .. } = self.present.remove(at);
        if let Some(library) = library
            && !self.present.iter().any(|it| it.path() == Some(&library.path))
        {
            self.desired.kept_out.insert(library.path, library.sha256);
        }
        self.desired.anew.remove(name);
        match origin {
            Origin::Config | Origin::Folder => {
                let change = Override { presence: Some(Presence::Unloaded), ..Override::default() };
                self.desired.overrides.insert(name.to_owned(), change);
            }
            Origin::Operator | Origin::Embedder => self.desired.specs.retain(|spec| spec.id != id),
        }
        Ok(())
    }

    fn switch(&mut self, name: &str, presence: Presence) -> Result<(), PluginError> {
        let (id, origin) = self.find(name).map(|it| (it.id, it.origin))?;
        match origin {
            Origin::Config | Origin::Folder => {
                self.desired.overrides.entry(name.to_owned()).or_default().presence = Some(presence);
            }
            Origin::Operator | Origin::Embedder => {
                if let Some(spec) = self.spec(id) {
                    spec.enabled = presence == Presence::Enabled;
                }
            }
        }
        Ok(())
    }

    fn find(&self, name: &str) -> Result<&Running, PluginError> {
        let found = self.present.iter().find(|it| it.name == name);
        found.ok_or_else(|| PluginError::PluginNotFound { name: name.to_owned() })
    }

    fn spec(&mut self, id: u64) -> Option<&mut PluginSpec> {
        self.desired.specs.iter_mut().find(|spec| spec.id == id)
    }
}

fn replace<T>(own: &mut Setting<T>, new: Setting<T>) {
    if !new.is_keep() {
        *own = new;
    }
}

impl PluginSpec {
    /// Returns the name that the instance will have, if the spec tells it.
    fn likely_name(&self) -> Option<&str> {
        match (&self.name, &self.source) {
            (Some(name), _) | (None, PluginSource::Plugin(name)) => Some(name),
            _ => None,
        }
    }

    /// True if an operator who loads `other` means this instance of the configuration: the same library, the same plugin,
    /// or the name of the instance itself.
    fn is_meant_by(&self, other: &PluginSpec) -> bool {
        let checksum = other.sha256.is_none() || other.checksum() == self.checksum();
        checksum
            && match (&self.source, &other.source) {
                (PluginSource::Path(own), PluginSource::Path(other)) => own == other,
                (PluginSource::Plugin(own), PluginSource::Plugin(other)) if own == other => true,
                (PluginSource::Path(_) | PluginSource::Plugin(_), PluginSource::Plugin(other)) => {
                    self.name.as_deref() == Some(other)
                }
                _ => false,
            }
    }
}
