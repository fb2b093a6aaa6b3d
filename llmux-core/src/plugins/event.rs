//! What changed: told to whoever subscribes, and the matter of an operator's audit log.

use std::path::PathBuf;

use serde::Serialize;

use super::slot::Slot;

/// A change of one instance, or a library that was refused.
#[derive(Clone, Debug, Serialize)]
pub struct PluginEvent {
    /// What happened.
    pub kind: PluginEventKind,
    /// The instance; for a refused library that no instance uses, the file's name.
    pub name: String,
    /// What it was before.
    pub old: Option<Edition>,
    /// What it is now.
    pub new: Option<Edition>,
    /// Why it was refused.
    pub error: Option<String>,
}

/// What happened to an instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum PluginEventKind {
    /// It came into the pipeline.
    Loaded,
    /// It left for good.
    Unloaded,
    /// It runs a new generation of its library, or was made anew with other settings.
    Reloaded,
    /// Its priority or what its failures mean changed.
    Updated,
    /// It left the pipeline and stays alive.
    Disabled,
    /// It is back.
    Enabled,
    /// A load or reload was refused; what ran before runs on.
    Failed,
}

/// Which edition of a plugin an instance runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Edition {
    /// The plugin's name.
    pub plugin: String,
    /// Its version, where it has a manifest.
    pub version: Option<String>,
    /// The library's file.
    pub library: Option<PathBuf>,
    /// The SHA-256 of the library's bytes.
    pub sha256: Option<String>,
    /// Which image of its library, from 1; 0 when compiled in.
    pub generation: u64,
}

impl Edition {
    fn of(slot: &Slot) -> Self {
        let library = slot.library.as_ref();
        Self {
            plugin: slot.plugin.to_string(),
            version: slot.manifest.as_ref().map(|manifest| manifest.version.to_string()),
            library: library.map(|library| library.path.clone()),
            sha256: library.map(|library| library.sha256.to_string()),
            generation: library.map_or(0, |library| library.generation),
        }
    }
}

/// What one change did to the list of instances.
pub(super) fn events(before: &[Slot], after: &[Slot]) -> Vec<PluginEvent> {
    let find = |slots: &[Slot], name: &str| slots.iter().find(|slot| slot.name() == name).cloned();
    let event = |kind, name: &str, old: Option<&Slot>, new: Option<&Slot>| PluginEvent {
        kind,
        name: name.to_owned(),
        old: old.map(Edition::of),
        new: new.map(Edition::of),
        error: None,
    };
    let gone = before.iter().filter(|slot| find(after, slot.name()).is_none());
    let mut events: Vec<_> =
        gone.map(|slot| event(PluginEventKind::Unloaded, slot.name(), Some(slot), None)).collect();
    for slot in after {
        let old = find(before, slot.name());
        let kind = match &old {
            None => PluginEventKind::Loaded,
            Some(old) if !old.is_same_instance(slot) => PluginEventKind::Reloaded,
            Some(old) if old.enabled && !slot.enabled => PluginEventKind::Disabled,
            Some(old) if !old.enabled && slot.enabled => PluginEventKind::Enabled,
            Some(old) if !old.is_same_entry(slot) => PluginEventKind::Updated,
            Some(_) => continue,
        };
        events.push(event(kind, slot.name(), old.as_ref(), Some(slot)));
    }
    events
}
