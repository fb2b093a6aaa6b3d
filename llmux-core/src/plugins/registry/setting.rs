//! The change of one setting of an instance: it stays, is reset, or has a new value.

use serde::{Deserialize, Deserializer};

/// The change of one setting of an instance.
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
