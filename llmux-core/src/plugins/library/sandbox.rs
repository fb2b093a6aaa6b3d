//! The rights and limits of the child process of an isolated instance, as an operator writes them. Plain data, which the
//! configuration names.
//!
//! `registry` merges an instance's own with the registry's, and `isolation` applies them.

use std::{fmt, path::PathBuf};

use serde::{Deserialize, Serialize};

use crate::setters::setters;

/// Least memory of a child, in bytes. With less, it cannot start its threads.
const MIN_MEMORY: u64 = 32 * 1024 * 1024;
/// Least number of descriptors of a child. With fewer, it cannot start.
const MIN_FILES: u64 = 32;
/// Least share of a processor.
const MIN_CPU: f64 = 0.01;

/// The parts of the sandbox without which an instance does not run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum SandboxParts {
    /// None: the child runs with the parts that the system has, and the list of plugins names the missing ones.
    #[default]
    Available,
    /// Every part.
    Required,
}

impl SandboxParts {
    /// Returns the name, as in the configuration.
    pub fn as_str(self) -> &'static str {
        match self {
            SandboxParts::Available => "available",
            SandboxParts::Required => "required",
        }
    }
}

/// Rights and limits of the child process of an isolated instance (rule I5). A member that is `None` has the value of
/// [`PluginsConfig::sandbox`](crate::plugins::PluginsConfig), else its default.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[non_exhaustive]
pub struct SandboxSettings {
    /// The parts without which the instance does not run. Default [`SandboxParts::Available`].
    pub sandbox: Option<SandboxParts>,
    /// Absolute paths of files and folders to read, besides the system's libraries and time zones, and the folder of the
    /// library. A path that does not exist is skipped. Default: none.
    pub read: Option<Vec<PathBuf>>,
    /// Absolute paths of files and folders to read, write, create and remove. Default: none.
    pub write: Option<Vec<PathBuf>>,
    /// Names of environment variables that the host passes, besides those that the system's loader reads. Default: none.
    pub env: Option<Vec<String>>,
    /// Permits sockets of IP. Default `false`.
    pub network: Option<bool>,
    /// Permits to start processes, and to run programs in `read` and `write`. Default `false`.
    pub processes: Option<bool>,
    /// Limit of the memory, in bytes: of the data segment, and of the resident size, which the host reads each second. From
    /// 32 MiB. Default: none.
    pub memory: Option<u64>,
    /// Limit of open descriptors, from 32. Default: the host's.
    pub files: Option<u64>,
    /// Limit of the processor's time over ten seconds, as a share of one processor, from 0.01. Default: none.
    pub cpu: Option<f64>,
}

setters! { SandboxSettings:
    /// Sets the parts without which the instance does not run.
    with_sandbox: sandbox: Option<SandboxParts>;
    /// Sets the paths to read.
    with_read: read: Option<Vec<PathBuf>>;
    /// Sets the paths to read, write, create and remove.
    with_write: write: Option<Vec<PathBuf>>;
    /// Sets the names of environment variables that the host passes.
    with_env: env: Option<Vec<String>>;
    /// Sets whether sockets of IP are permitted.
    with_network: network: Option<bool>;
    /// Sets whether processes are permitted.
    with_processes: processes: Option<bool>;
    /// Sets the limit of the memory, in bytes.
    with_memory: memory: Option<u64>;
    /// Sets the limit of open descriptors.
    with_files: files: Option<u64>;
    /// Sets the limit of the processor's time, as a share of one processor.
    with_cpu: cpu: Option<f64>;
}

impl SandboxSettings {
    /// Returns the names of the members that have a value.
    pub(in crate::plugins) fn given(&self) -> Vec<&'static str> {
        let Self { sandbox, read, write, env, network, processes, memory, files, cpu } = self;
        let given = [
            ("sandbox", sandbox.is_some()),
            ("read", read.is_some()),
            ("write", write.is_some()),
            ("env", env.is_some()),
            ("network", network.is_some()),
            ("processes", processes.is_some()),
            ("memory", memory.is_some()),
            ("files", files.is_some()),
            ("cpu", cpu.is_some()),
        ];
        given.into_iter().filter(|(_, is_given)| *is_given).map(|(name, _)| name).collect()
    }

    /// Returns these settings, and for each member without a value the other's.
    pub(in crate::plugins) fn or(&self, other: &Self) -> Self {
        let (own, other) = (self.clone(), other.clone());
        Self {
            sandbox: own.sandbox.or(other.sandbox),
            read: own.read.or(other.read),
            write: own.write.or(other.write),
            env: own.env.or(other.env),
            network: own.network.or(other.network),
            processes: own.processes.or(other.processes),
            memory: own.memory.or(other.memory),
            files: own.files.or(other.files),
            cpu: own.cpu.or(other.cpu),
        }
    }

    /// Checks the values.
    ///
    /// # Errors
    ///
    /// The member that is wrong, with the values that are allowed.
    pub(in crate::plugins) fn check(&self) -> Result<(), String> {
        for (name, paths) in [("read", &self.read), ("write", &self.write)] {
            if let Some(path) = paths.iter().flatten().find(|path| !path.is_absolute()) {
                return Err(format!("`{name}` lists absolute paths; `{}` is not", path.display()));
            }
        }
        let is_wrong = |name: &&String| name.is_empty() || name.contains(['=', '\0']);
        if let Some(name) = self.env.iter().flatten().find(is_wrong) {
            return Err(format!("`env` lists names of environment variables; {name:?} is not"));
        }
        at_least("memory", self.memory, MIN_MEMORY)?;
        at_least("files", self.files, MIN_FILES)?;
        // Also refuses a value that is not a number.
        match self.cpu {
            Some(cpu) if !(MIN_CPU..=1024.0).contains(&cpu) => Err(format!(
                "`cpu` is a number from {MIN_CPU} to 1024, where 1 is one processor; it is {cpu}"
            )),
            _ => Ok(()),
        }
    }
}

fn at_least<T: PartialOrd + fmt::Display>(name: &str, value: Option<T>, least: T) -> Result<(), String> {
    match value {
        Some(value) if value < least => Err(format!("`{name}` is at least {least}; it is {value}")),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn i5_a_member_that_is_not_given_has_the_value_of_the_other_settings() {
        let own = SandboxSettings::default().with_memory(Some(1)).with_read(Some(vec!["/own".into()]));
        let other = SandboxSettings::default()
            .with_memory(Some(2))
            .with_files(Some(3))
            .with_read(Some(vec!["/other".into()]))
            .with_network(Some(true));
        let merged = own.or(&other);
        assert_eq!((merged.memory, merged.files, merged.network), (Some(1), Some(3), Some(true)));
        assert_eq!(merged.read, own.read);
        assert_eq!(merged.given(), ["read", "network", "memory", "files"]);
    }

    #[test]
    fn i5_a_wrong_value_is_refused_with_its_member_and_the_allowed_values() {
        let settings = SandboxSettings::default;
        for (wrong, expected) in [
            (settings().with_read(Some(vec!["a/b".into()])), "`read` lists absolute paths; `a/b` is not"),
            (settings().with_write(Some(vec!["".into()])), "`write` lists absolute paths; `` is not"),
            (
                settings().with_env(Some(vec!["A=B".into()])),
                "`env` lists names of environment variables; \"A=B\"",
            ),
            (settings().with_memory(Some(1)), "`memory` is at least 33554432; it is 1"),
            (settings().with_files(Some(3)), "`files` is at least 32; it is 3"),
            (
                settings().with_cpu(Some(0.0)),
                "`cpu` is a number from 0.01 to 1024, where 1 is one processor; it is 0",
            ),
            (settings().with_cpu(Some(f64::NAN)), "`cpu` is a number from 0.01"),
        ] {
            let why = wrong.check().expect_err(expected);
            assert!(why.starts_with(expected), "{why}");
        }
        assert_eq!(settings().with_cpu(Some(1.0)).with_memory(Some(MIN_MEMORY)).check(), Ok(()));
    }
}
