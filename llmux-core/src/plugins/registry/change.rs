//! Changes of the pipeline, and of the settings of one instance.
//!
//! Programs ask for them (`edit`), `plan` derives them from the desired state, and `stage` makes them.

use serde::{Deserialize, Deserializer};
use serde_json::Value;

use super::spec::PluginSpec;
use crate::plugins::library::manifest::OnError;

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
}

/// The change of one setting in a [`Change::Update`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Setting<T> {
    /// The setting stays as it is.
    #[default]
    Keep,
    /// The setting is its default again.
    Clear,
    /// The setting becomes this value.
    Set(T),
}

impl<T> Setting<T> {
    /// Returns `Set` for a value, and `Clear` for its absence.
    pub fn of(value: Option<T>) -> Self {
        value.map_or(Setting::Clear, Setting::Set)
    }

    /// True if the setting stays as it is.
    pub fn is_keep(&self) -> bool {
        matches!(self, Setting::Keep)
    }

    /// Returns the setting after the change; `None` is the default.
    pub(super) fn after(self, before: Option<T>) -> Option<T> {
        match self {
            Setting::Keep => before,
            Setting::Clear => None,
            Setting::Set(value) => Some(value),
        }
    }
}

/// As a member of a JSON object that is read with `#[serde(default)]`: absent it stays, `null` clears it.
impl<'de, T: Deserialize<'de>> Deserialize<'de> for Setting<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Option::deserialize(deserializer).map(Self::of)
    }
}

impl Change {
    /// True if making the change runs code of a plugin.
    pub(super) fn makes_instances(&self) -> bool {
        match self {
            Change::Load(_) | Change::Reload(_) => true,
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
        }
    }
}
