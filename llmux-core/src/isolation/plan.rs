//! Plain data about the child of an isolated instance: what it is started from, why it was not, and what an operator sees of
//! it.

use std::{any::Any, collections::BTreeMap, path::PathBuf, sync::Arc};

use super::program::ChildProgram;
use crate::{
    boundary::{host::HostShared, library::OpenError},
    sandbox::Policy,
};

/// All that a child is started from.
pub(crate) struct Plan {
    /// Name of the instance.
    pub(crate) name: String,
    pub(crate) program: ChildProgram,
    /// The private copy of the library.
    pub(crate) copy: PathBuf,
    /// Keeps the copy for as long as a child may be started.
    pub(crate) _held: Arc<dyn Any + Send + Sync>,
    /// The file that the copy was made of.
    pub(crate) library: PathBuf,
    /// Name of the library's entry.
    pub(crate) entry: String,
    /// Version of the contract that the manifest states.
    pub(crate) abi: String,
    /// Rights and limits of the child.
    pub(crate) policy: Policy,
    /// Refuses to run without every part of the sandbox.
    pub(crate) needs_sandbox: bool,
    pub(crate) shared: Arc<HostShared>,
}

/// The reason for which a child was not started.
#[derive(Debug)]
pub(crate) enum StartError {
    /// No process could be started.
    NoChild(String),
    /// The process ended, or ran past its time.
    Died(String),
    /// The library was refused.
    Open(OpenError),
    /// The plugin gave no schema, or no instance.
    Refused(String),
    /// The system lacks these parts of the sandbox, and every part is required.
    Sandbox(Vec<String>),
}

/// The state of a child, as an operator sees it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Facts {
    /// `active`, `restarting`, `failed` or `ended`.
    pub(crate) state: &'static str,
    /// Id of the process; `None` while there is none.
    pub(crate) pid: Option<u32>,
    /// Number of deaths, by their reason: `signal`, `exit`, `killed` (by the host) or `start` (before the instance ran).
    pub(crate) deaths: BTreeMap<&'static str, u64>,
    /// The last death.
    pub(crate) last_death: Option<String>,
    /// Parts of the sandbox that this system lacks, one sentence for each.
    pub(crate) missing_sandbox: Vec<String>,
}

/// An instance whose child is supervised.
pub(crate) trait Supervised: Send + Sync {
    /// Returns what an operator sees of the child.
    fn facts(&self) -> Facts;
}
