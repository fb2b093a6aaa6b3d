//! The place where the code of a library runs. Plain data, which the configuration names.

use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The place where the code of a library runs (rule I1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Isolation {
    /// In the host.
    #[default]
    None,
    /// In a child process of its own.
    Process,
}

impl Isolation {
    /// Returns the name, as in the configuration.
    pub fn as_str(self) -> &'static str {
        match self {
            Isolation::None => "none",
            Isolation::Process => "process",
        }
    }
}

impl FromStr for Isolation {
    type Err = ();

    fn from_str(name: &str) -> Result<Self, ()> {
        [Isolation::None, Isolation::Process].into_iter().find(|it| it.as_str() == name).ok_or(())
    }
}
