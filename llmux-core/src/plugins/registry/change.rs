//! Changes of the pipeline, and of one instance.
//!
//! Programs ask for them (`edit`), `plan` derives them from the desired state, and `stage` makes them.

use serde_json::Value;

use super::{sandbox_change::SandboxChange, setting::Setting, spec::PluginSpec};
use crate::plugins::library::{isolation::Isolation, manifest::OnError};

/// A change of the pipeline. Several can be made at once: all of them in one new snapshot, or none.
#[derive(Clone)]
#[non_exhaustive]
pub enum Change {
    /// Makes an instance.
    Load(PluginSpec),
    /// Unloads an instance.
    Unload(String),
    /// Loads a new generation of an instance's library, for all instances of that library.
    Reload(String),
    /// Takes an instance out of the pipeline and keeps it alive.
    Disable(String),
    /// Puts a disabled instance back into the pipeline.
    Enable(String),
    /// Changes an instance's settings. Another configuration makes a new instance on the same image.
    Update {
        /// Name of the instance.
        name: String,
        /// Priority. Default: the manifest's, or 100.
        priority: Setting<i32>,
        /// Whether a failed hook fails the request. Default: the manifest's value, or the pipeline's.
        on_error: Setting<OnError>,
        /// Configuration. Default: `{}`.
        config: Setting<Value>,
    },
    /// Changes the place where the library of an instance runs, and the rights and limits of its child process. This makes
    /// a new instance.
    Isolate {
        /// Name of the instance.
        name: String,
        /// Place where the library runs. Default: [`PluginsConfig::isolation`](super::PluginsConfig).
        isolation: Setting<Isolation>,
        /// Rights and limits. Default of a member: that of [`PluginsConfig::sandbox`](super::PluginsConfig).
        sandbox: SandboxChange,
    },
}

impl Change {
    /// True if making the change runs code of a plugin.
    pub(super) fn makes_instances(&self) -> bool {
        match self {
            Change::Load(_) | Change::Reload(_) | Change::Isolate { .. } => true,
            Change::Update { config, .. } => !config.is_keep(),
            Change::Unload(_) | Change::Disable(_) | Change::Enable(_) => false,
        }
    }

    /// Returns the name of the change, and the instance or library that it concerns.
    pub(super) fn title(&self) -> (&'static str, String) {
        match self {
            Change::Load(spec) => ("load", spec.title()),
            Change::Unload(name) => ("unload", name.clone()),
            Change::Reload(name) => ("reload", name.clone()),
            Change::Disable(name) => ("disable", name.clone()),
            Change::Enable(name) => ("enable", name.clone()),
            Change::Update { name, .. } => ("update", name.clone()),
            Change::Isolate { name, .. } => ("isolate", name.clone()),
        }
    }
}
