//! Plain data about the child of an isolated instance: what it is started from, why it was not, and what an operator sees of
//! it.

use std::{
    any::Any,
    collections::BTreeMap,
    path::PathBuf,
    sync::{Arc, atomic::AtomicU64},
    time::Duration,
};

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
    /// Limits that the host measures.
    pub(crate) limits: ChildLimits,
    pub(crate) used: Arc<Used>,
    /// Refuses to run without every part of the sandbox.
    pub(crate) needs_sandbox: bool,
    pub(crate) shared: Arc<HostShared>,
}

/// Limits of a child that the host measures.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct ChildLimits {
    /// Memory in bytes.
    pub(crate) memory: Option<u64>,
    /// Share of one processor over ten seconds.
    pub(crate) cpu: Option<f64>,
}

/// The figures of an instance's children, as the host reads them each second.
#[derive(Debug, Default)]
pub(crate) struct Used {
    /// Memory of the present child, in bytes.
    pub(crate) memory: AtomicU64,
    /// Time of the processor of all children, in microseconds.
    pub(crate) cpu_micros: AtomicU64,
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
    /// `active`, `restarting`, `starting`, `failed` or `ended`.
    pub(crate) state: &'static str,
    /// Id of the process; `None` while there is none.
    pub(crate) pid: Option<u32>,
    /// Number of deaths, by their reason: `signal`, `exit`, `memory` or `cpu` (killed at a limit), `killed` (by
    /// the host) or `start` (before the instance ran).
    pub(crate) deaths: BTreeMap<&'static str, u64>,
    /// The last death.
    pub(crate) last_death: Option<String>,
    /// Memory of the child in bytes; 0 while there is none.
    pub(crate) memory: u64,
    /// Time of the processor of all children of the instance.
    pub(crate) cpu: Duration,
    /// Parts of the sandbox that this system lacks, one sentence for each.
    pub(crate) missing_sandbox: Vec<String>,
}

/// An instance whose child is supervised.
pub(crate) trait Supervised: Send + Sync {
    /// Returns what an operator sees of the child.
    fn facts(&self) -> Facts;
}
