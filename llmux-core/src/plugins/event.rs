//! What changed: told to whoever subscribes, and written into the log at the target `llmux::audit`.
//!
//! Who makes a change is known where it begins, and is carried to its end by [`acting_as`]: a reload of a whole
//! configuration and a single command are told the same way.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use serde::Serialize;

use super::{listing, manifest::Manifest, slot::Slot};

/// A change of one instance, or a library that was refused.
#[derive(Clone, Debug, Serialize)]
pub struct PluginEvent {
    /// What happened.
    pub kind: PluginEventKind,
    /// The instance; for a refused library that no instance uses, the file's name.
    pub name: String,
    /// What it was before.
    pub old: Option<Edition>,
    /// What it is now; where it was refused, the library that was, if it could be read.
    pub new: Option<Edition>,
    /// What was asked for, where it was refused: `load`, `reload`, `unload`, `enable`, `disable` or `update`.
    pub attempted: Option<&'static str>,
    /// Why it was refused.
    pub error: Option<String>,
    /// Who asked for it; `None` where the host does not say (see [`acting_as`]).
    pub by: Option<String>,
}

tokio::task_local! {
    static ACTOR: Arc<str>;
}

/// Runs changes in somebody's name: their events and their lines in the audit log carry it. It holds for the
/// future itself, not for tasks that it spawns.
pub async fn acting_as<F: Future>(who: impl Into<Arc<str>>, changes: F) -> F::Output {
    ACTOR.scope(who.into(), changes).await
}

/// In whose name this runs.
fn actor() -> Option<String> {
    ACTOR.try_with(|who| who.to_string()).ok()
}

impl PluginEvent {
    /// A change that was refused.
    pub(super) fn refused(
        attempted: &'static str,
        name: String,
        running: Option<&Slot>,
        tried: Option<Edition>,
        error: String,
    ) -> Self {
        Self {
            kind: PluginEventKind::Failed,
            name,
            old: running.map(Edition::of),
            new: tried,
            attempted: Some(attempted),
            error: Some(error),
            by: actor(),
        }
    }

    /// Writes its line into the audit log. Written here and not by a subscriber, who may fall behind and miss some.
    pub(super) fn audit(&self) {
        let who = self.by.as_deref().unwrap_or("host");
        let version = |edition: &Option<Edition>| edition.as_ref().and_then(|it| it.version.clone());
        let sha256 = |edition: &Option<Edition>| edition.as_ref().and_then(|it| it.sha256.clone());
        let (old_version, old_sha256) = (version(&self.old), sha256(&self.old));
        let (new_version, new_sha256) = (version(&self.new), sha256(&self.new));
        match &self.error {
            Some(error) => tracing::warn!(
                target: "llmux::audit",
                who,
                what = self.attempted.unwrap_or("change"),
                instance = self.name,
                old_version,
                old_sha256,
                new_version,
                new_sha256,
                "refused: {error}"
            ),
            None => tracing::info!(
                target: "llmux::audit",
                who,
                what = self.kind.as_str(),
                instance = self.name,
                old_version,
                old_sha256,
                new_version,
                new_sha256,
                "plugin {}",
                self.kind.as_str()
            ),
        }
    }
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
    /// A change was refused; what ran before runs on.
    Failed,
}

impl PluginEventKind {
    /// Its name.
    pub fn as_str(self) -> &'static str {
        match self {
            PluginEventKind::Loaded => "loaded",
            PluginEventKind::Unloaded => "unloaded",
            PluginEventKind::Reloaded => "reloaded",
            PluginEventKind::Updated => "updated",
            PluginEventKind::Disabled => "disabled",
            PluginEventKind::Enabled => "enabled",
            PluginEventKind::Failed => "failed",
        }
    }
}

/// Which edition of a plugin an instance runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Edition {
    /// The plugin's name; empty where it could not be read.
    pub plugin: String,
    /// Its version, where it has a manifest.
    pub version: Option<String>,
    /// The library's file.
    #[serde(serialize_with = "listing::as_text")]
    pub library: Option<PathBuf>,
    /// The SHA-256 of the library's bytes.
    pub sha256: Option<String>,
    /// Which image of its library, from 1; 0 when compiled in, or never loaded.
    pub generation: u64,
}

impl Edition {
    /// A library's file that somebody tried to load.
    pub(super) fn tried(path: &Path, manifest: Option<&Manifest>, sha256: String) -> Self {
        Self {
            plugin: manifest.map(|manifest| manifest.name.clone()).unwrap_or_default(),
            version: manifest.map(|manifest| manifest.version.to_string()),
            library: Some(path.to_owned()),
            sha256: Some(sha256),
            generation: 0,
        }
    }

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
        attempted: None,
        error: None,
        by: actor(),
    };
    let gone = before.iter().filter(|slot| find(after, slot.name()).is_none());
    let mut events: Vec<_> =
        gone.map(|slot| event(PluginEventKind::Unloaded, slot.name(), Some(slot), None)).collect();
    for slot in after {
        let old = find(before, slot.name());
        let made = match &old {
            None => Some(PluginEventKind::Loaded),
            Some(old) if !old.is_same_instance(slot) => Some(PluginEventKind::Reloaded),
            Some(old) if !old.is_same_entry(slot) => Some(PluginEventKind::Updated),
            Some(_) => None,
        };
        let was_enabled = old.as_ref().is_none_or(|old| old.enabled);
        let switched = match (was_enabled, slot.enabled) {
            (true, false) => Some(PluginEventKind::Disabled),
            (false, true) => Some(PluginEventKind::Enabled),
            _ => None,
        };
        events.extend(
            made.into_iter().chain(switched).map(|kind| event(kind, slot.name(), old.as_ref(), Some(slot))),
        );
    }
    events
}
