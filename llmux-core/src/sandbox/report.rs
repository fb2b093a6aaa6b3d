//! The parts of the sandbox, and which of them hold. The child sends a report to its host as JSON.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A part of the sandbox.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Part {
    /// The process has one thread, so that the other parts hold for all of it.
    OneThread,
    /// No program that it runs gets more rights than it has.
    NoNewPrivileges,
    /// It has no capabilities, also if its user is root.
    Capabilities,
    /// Landlock: reading and writing files; memory and environment of other processes.
    Files,
    /// Landlock: truncating files that it may only read.
    Truncation,
    /// Landlock: connections of TCP, below the filter of system calls.
    Tcp,
    /// Landlock: calls to drivers of devices.
    Devices,
    /// Landlock: signals and abstract UNIX sockets of other processes.
    Scopes,
    /// RLIMIT_CORE, and RLIMIT_DATA and RLIMIT_NOFILE if the policy has them.
    Limits,
    /// The filter of system calls (seccomp).
    SystemCalls,
    /// The programs that it starts cannot leave its process group, which ends with it and with its host.
    Programs,
}

/// A part that could not be applied.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Missing {
    pub(crate) part: Part,
    pub(crate) why: String,
}

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let effect = match self.part {
            Part::OneThread => "threads that ran before are not restricted",
            Part::NoNewPrivileges => "a program that a plugin runs may get more rights",
            Part::Capabilities => "this plugin has the capabilities of the host",
            Part::Files => "this plugin can read the host's memory and environment",
            Part::Truncation => "this plugin can truncate files that it may only read",
            Part::Tcp => "connections of TCP are refused by the filter of system calls only",
            Part::Devices => "this plugin can control devices that it may read",
            Part::Scopes => "signals to other processes are refused by the filter of system calls only",
            Part::Limits => "the limits of memory and open files do not hold",
            Part::SystemCalls => "this plugin can start processes, open sockets and send signals",
            Part::Programs => "programs that this plugin starts can run on without it",
        };
        write!(f, "{effect} ({})", self.why)
    }
}

/// The parts of the sandbox that hold in this process, and those that are missing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Report {
    pub(crate) applied: Vec<Part>,
    pub(crate) missing: Vec<Missing>,
}

impl Report {
    pub(super) fn add(&mut self, part: Part, result: Result<(), impl fmt::Display>) {
        match result {
            Ok(()) => self.applied.push(part),
            Err(why) => self.missing.push(Missing { part, why: why.to_string() }),
        }
    }
}
