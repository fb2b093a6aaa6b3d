//! Events of changes: sent to subscribers, and written into the log at the target `llmux::audit`.
//!
//! [`acting_as`] carries the name of the actor through a change: a reload of a whole configuration and a single command
//! are reported in one form.

use std::{path::PathBuf, sync::Arc};

use serde::Serialize;

use super::info;
use crate::plugins::library::inspect::InspectedLibrary;

/// A change of one instance, or a library that was refused.
#[derive(Clone, Debug, Serialize)]
pub struct PluginEvent {
    /// Kind of the event.
    pub kind: PluginEventKind,
    /// Name of the instance; for a refused library that no instance uses, the file's name.
    pub name: String,
    /// Edition that ran before.
    pub old: Option<Edition>,
    /// Edition that runs now; after a refusal, the edition that was refused, if it could be read.
    pub new: Option<Edition>,
    /// Change that was refused: `load`, `reload`, `unload`, `enable`, `disable`, `update` or `weaken`.
    pub attempted: Option<&'static str>,
    /// Reason of the refusal.
    pub error: Option<String>,
    /// Actor that asked for the change; `None` outside of [`acting_as`].
    pub by: Option<String>,
}

tokio::task_local! {
    static ACTOR: Arc<str>;
}

/// Runs changes in the name of an actor: their events and their lines in the audit log carry it. The name holds for the
/// future itself, not for tasks that it spawns.
pub async fn acting_as<F: Future>(who: impl Into<Arc<str>>, changes: F) -> F::Output {
    ACTOR.scope(who.into(), changes).await
}

/// Returns the name of the actor of this task.
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

    /// Writes the event into the audit log. A subscriber does not write it, since one may fall behind and miss events.
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

/// Kinds of events.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum PluginEventKind {
    /// The instance came into the pipeline.
    Loaded,
    /// The instance was unloaded.
    Unloaded,
    /// The instance runs a new generation of its library, or was made again with other settings.
    Reloaded,
    /// The instance's priority or `on_error` changed.
    Updated,
    /// The instance left the pipeline and stays alive.
    Disabled,
    /// The instance is back in the pipeline.
    Enabled,
    /// A change was refused; the pipeline is as it was.
    Failed,
}

impl PluginEventKind {
    /// Returns the name of the kind.
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

/// The edition of a plugin that an instance runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Edition {
    /// The plugin's name; empty if it could not be read.
    pub plugin: String,
    /// The plugin's version; `None` without a manifest.
    pub version: Option<String>,
    /// The library's file.
    #[serde(serialize_with = "info::as_text")]
    pub library: Option<PathBuf>,
    /// The SHA-256 of the library's bytes.
    pub sha256: Option<String>,
    /// Generation of the library, from 1; 0 if compiled in or never loaded.
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
