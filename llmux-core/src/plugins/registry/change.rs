//! What can be asked of the pipeline: one change, and what becomes of each setting of an instance.
//!
//! `stage` makes them, `registry` publishes them.

use serde::{Deserialize, Deserializer};
use serde_json::Value;

use super::spec::PluginSpec;
use crate::plugins::library::manifest::OnError;

/// A change of the pipeline. Several can be one: all are made, in one new snapshot, or none.
pub enum Change {
    /// Makes an instance.
    Load(PluginSpec),
    /// Takes an instance out, for good.
    Unload(String),
    /// Loads a new generation of an instance's library, for all instances of that library.
    Reload(String),
    /// Takes an instance out of the pipeline and keeps it alive.
    Disable(String),
    /// Puts it back.
    Enable(String),
    /// Changes an instance's settings. Another configuration makes a new instance on the same image.
    Update {
        /// The instance.
        name: String,
        /// Its priority. Default: its manifest's, or 100.
        priority: Setting<i32>,
        /// What becomes of a request when a hook fails. Default: its manifest's, or the pipeline's.
        on_error: Setting<OnError>,
        /// Its configuration. Default: `{}`.
        config: Setting<Value>,
    },
}

/// What becomes of one setting in a [`Change::Update`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Setting<T> {
    /// It stays as it is.
    #[default]
    Keep,
    /// It is left to its default again.
    Clear,
    /// It becomes this.
    Set(T),
}

impl<T> Setting<T> {
    /// The setting that a value, or the lack of one, asks for.
    pub fn of(value: Option<T>) -> Self {
        value.map_or(Setting::Clear, Setting::Set)
    }

    /// Does it stay as it is?
    pub fn is_keep(&self) -> bool {
        matches!(self, Setting::Keep)
    }

    /// What the operator asks for from here on; `None` is the default.
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
    /// Does it take code of a plugin to make it?
    pub(super) fn makes_instances(&self) -> bool {
        match self {
            Change::Load(_) | Change::Reload(_) => true,
            Change::Update { config, .. } => !config.is_keep(),
            Change::Unload(_) | Change::Disable(_) | Change::Enable(_) => false,
        }
    }

    /// What it is called, and the instance or library that it is about.
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
