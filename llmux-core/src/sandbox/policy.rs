//! The rights of a child: the parts of the host and of its machine that it may use.
//!
//! A caller of `sandbox` fills in a [`Policy`], and the other files of `sandbox` apply it.

use std::{ffi::OsString, path::PathBuf};

/// Variables that the system's loader reads. Without them, it would find other libraries than in the host.
pub(super) const OF_THE_LOADER: [&str; 8] = [
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

impl Policy {
    /// Returns the environment variables of this process that a child gets.
    pub(crate) fn variables(&self) -> impl Iterator<Item = (&str, OsString)> {
        let names = OF_THE_LOADER.into_iter().chain(self.env.iter().map(String::as_str));
        names.filter_map(|name| Some((name, std::env::var_os(name)?)))
    }
}
