//! What changed: told to whoever subscribes, and written into the log at the target `llmux::audit`.
//!
//! Who makes a change is known where it begins, and is carried to its end by [`acting_as`]: a reload of a whole
//! configuration and a single command are told the same way.

use std::{path::PathBuf, sync::Arc};

use serde::Serialize;

use super::info;
use crate::plugins::library::inspect::InspectedLibrary;

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
pub(in crate::plugins) fn actor() -> Option<String> {
    ACTOR.try_with(|who| who.to_string()).ok()
}

impl PluginEvent {
    /// A change that was refused.
    pub(in crate::plugins) fn refused(
        attempted: &'static str,
        name: String,
        running: Option<Edition>,
        tried: Option<Edition>,
        error: String,
    ) -> Self {
        Self {
            kind: PluginEventKind::Failed,
            name,
            old: running,
            new: tried,
            attempted: Some(attempted),
            error: Some(error),
            by: actor(),
        }
    }

    /// Writes its line into the audit log. Written here and not by a subscriber, who may fall behind and miss some.
    pub(in crate::plugins) fn audit(&self) {
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
    #[serde(serialize_with = "info::as_text")]
    pub library: Option<PathBuf>,
    /// The SHA-256 of the library's bytes.
    pub sha256: Option<String>,
    /// Which image of its library, from 1; 0 when compiled in, or never loaded.
    pub generation: u64,
}

impl Edition {
    /// The edition in a library's file that was not loaded; `None` if the file could not be read.
    pub(in crate::plugins) fn tried(seen: &InspectedLibrary) -> Option<Self> {
        let manifest = seen.manifest.as_ref();
        Some(Self {
            plugin: manifest.map(|manifest| manifest.name.clone()).unwrap_or_default(),
            version: manifest.map(|manifest| manifest.version.to_string()),
            library: Some(seen.path.clone()),
            sha256: Some(seen.sha256.clone()?),
            generation: 0,
        })
    }
}
