//! Changes of an operator that a reload of the configuration, or another version of a library, reverts.
//!
//! `registry::plan` finds them; the program shows them beside the result of a reload. Plain data.

use std::fmt;

use serde::{Serialize, Serializer, ser::SerializeStruct};

/// An operator's change that was reverted.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Undone {
    /// Name of the instance.
    pub name: String,
    /// The operator's change.
    pub change: UndoneChange,
}

/// A kind of change that an operator makes to an instance of the configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum UndoneChange {
    /// The operator had unloaded it; it is loaded again.
    Unloaded,
    /// The operator had disabled it; it is enabled again.
    Disabled,
    /// The operator had enabled it; it is disabled again.
    Enabled,
    /// The operator had set these settings; they are as the configuration says.
    Set(Vec<&'static str>),
    /// The operator had loaded another plugin under this name; the configuration's takes its place.
    Replaced,
}

impl UndoneChange {
    /// Returns the operator's change in one word: `unloaded`, `disabled`, `enabled`, `set` or `replaced`.
    pub fn as_str(&self) -> &'static str {
        match self {
            UndoneChange::Unloaded => "unloaded",
            UndoneChange::Disabled => "disabled",
            UndoneChange::Enabled => "enabled",
            UndoneChange::Set(_) => "set",
            UndoneChange::Replaced => "replaced",
        }
    }
}

impl Undone {
    pub(in crate::plugins) fn new(name: &str, change: UndoneChange) -> Self {
        Self { name: name.to_owned(), change }
    }

    /// Writes the line of the audit log.
    pub(in crate::plugins) fn audit(&self) {
        let who = super::events::actor();
        let who = who.as_deref().unwrap_or("host");
        tracing::info!(target: "llmux::audit", who, what = "undone", instance = self.name, "{self}");
    }
}

impl fmt::Display for Undone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, change } = self;
        match change {
            UndoneChange::Unloaded => write!(f, "plugin `{name}` loaded again (an operator had unloaded it)"),
            UndoneChange::Disabled => {
                write!(f, "plugin `{name}` enabled again (an operator had disabled it)")
            }
            UndoneChange::Enabled => write!(f, "plugin `{name}` disabled again (an operator had enabled it)"),
            UndoneChange::Set(members) => {
                write!(f, "plugin `{name}` set back (an operator had set {})", members.join(", "))
            }
            UndoneChange::Replaced => write!(
                f,
                "plugin `{name}` as configured again (an operator had loaded another plugin under this name)"
            ),
        }
    }
}

/// Serializes as `{"name", "change", "members", "message"}`.
impl Serialize for Undone {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let members = match &self.change {
            UndoneChange::Set(members) => members.as_slice(),
            _ => &[],
        };
        let mut object = to.serialize_struct("Undone", 4)?;
        object.serialize_field("name", &self.name)?;
        object.serialize_field("change", self.change.as_str())?;
        object.serialize_field("members", members)?;
        object.serialize_field("message", &self.to_string())?;
        object.end()
    }
}
