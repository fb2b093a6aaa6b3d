//! Sandbox of a child process that runs the code of a library (rule I5).
//!
//! The child calls [`Policy::apply`] before its first other thread and before it maps the library. The host reads the
//! variables that it passes to a child from [`Policy::variables`]. Deliberately absent: limits that only the host can
//! measure (resident memory, time of the processor), and a decision about a part that is missing: the [`Report`] names it.

#[cfg(target_os = "linux")]
mod calls;
#[cfg(target_os = "linux")]
mod files;
#[cfg(target_os = "linux")]
mod process;

use std::{ffi::OsString, fmt, path::PathBuf};

use serde::{Deserialize, Serialize};

/// Variables that the system's loader reads. Without them, it would find other libraries than in the host.
const OF_THE_LOADER: [&str; 8] = [
    "LD_LIBRARY_PATH",
    "LD_PRELOAD",
    "LD_BIND_NOW",
    "GLIBC_TUNABLES",
    "DYLD_LIBRARY_PATH",
    "DYLD_INSERT_LIBRARIES",
    "PATH",
    "SystemRoot",
];

/// The parts of the host and of its machine that a child may use. The default is the least that a library needs.
#[derive(Clone, Debug, Default)]
#[cfg_attr(not(target_os = "linux"), allow(dead_code))]
pub(crate) struct Policy {
    /// Files and folders to read, besides the system's libraries and time zones. A path that does not exist is skipped.
    pub(crate) read: Vec<PathBuf>,
    /// Files and folders to read, write, create and remove.
    pub(crate) write: Vec<PathBuf>,
    /// Names of environment variables to pass, besides those that the system's loader reads.
    pub(crate) env: Vec<String>,
    /// Permits sockets of IP, and reading the files that name resolution and TLS need.
    pub(crate) network: bool,
    /// Permits to start processes and to run programs in `read` and `write`.
    pub(crate) processes: bool,
    /// Largest data segment (RLIMIT_DATA), in bytes.
    pub(crate) memory: Option<u64>,
    /// Largest number of open descriptors.
    pub(crate) files: Option<u64>,
}

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
    fn add(&mut self, part: Part, result: Result<(), impl fmt::Display>) {
        match result {
            Ok(()) => self.applied.push(part),
            Err(why) => self.missing.push(Missing { part, why: why.to_string() }),
        }
    }
}

impl Policy {
    /// Returns the environment variables of this process that a child gets.
    pub(crate) fn variables(&self) -> impl Iterator<Item = (&str, OsString)> {
        let names = OF_THE_LOADER.into_iter().chain(self.env.iter().map(String::as_str));
        names.filter_map(|name| Some((name, std::env::var_os(name)?)))
    }

    /// Restricts this process for good. Each part is tried, also after another could not be applied.
    #[cfg(target_os = "linux")]
    pub(crate) fn apply(&self) -> Report {
        let mut report = Report::default();
        report.add(Part::OneThread, process::has_one_thread());
        self.restrict_thread(files::TESTED, &mut report);
        report
    }

    /// Restricts this process for good: it cannot on this system.
    #[cfg(not(target_os = "linux"))]
    pub(crate) fn apply(&self) -> Report {
        let mut report = Report::default();
        for part in [Part::Files, Part::SystemCalls] {
            report.add(part, Err("the sandbox needs Linux"));
        }
        report
    }

    /// Restricts the calling thread, and the threads and processes that it starts, with Landlock of at most this version.
    #[cfg(target_os = "linux")]
    fn restrict_thread(&self, landlock: landlock::ABI, report: &mut Report) {
        report.add(Part::NoNewPrivileges, rustix::thread::set_no_new_privs(true));
        files::restrict(self, landlock, report);
        report.add(Part::Capabilities, process::drop_capabilities());
        report.add(Part::Limits, process::limit(self));
        // The last one: it refuses calls that the others make.
        report.add(Part::SystemCalls, calls::restrict(self));
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests;
