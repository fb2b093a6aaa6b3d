//! The table `[[plugin]]`: an instance, with the rights and limits of its child process.
//!
//! `file` reads it, and `client` makes a spec of it.

use std::path::{Path, PathBuf};

use llmux_core::plugins::{Isolation, OnError, SandboxParts, SandboxSettings};
use llmux_terminal::Result;
use serde::Deserialize;
use toml::Spanned;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Instance {
    pub(crate) name: Spanned<String>,
    /// The plugin's name in its manifest. Default: the instance's name.
    pub(crate) plugin: Option<Spanned<String>>,
    pub(crate) path: Option<PathBuf>,
    pub(crate) priority: Option<i32>,
    pub(crate) on_error: Option<OnError>,
    pub(crate) sha256: Option<Spanned<String>>,
    pub(crate) isolation: Option<Isolation>,
    // The rights and limits of an isolated instance.
    sandbox: Option<SandboxParts>,
    read: Option<Vec<PathBuf>>,
    write: Option<Vec<PathBuf>>,
    env: Option<Vec<String>>,
    network: Option<bool>,
    processes: Option<bool>,
    memory: Option<u64>,
    files: Option<u64>,
    cpu: Option<f64>,
    pub(crate) enabled: Option<bool>,
    pub(crate) config: Option<Spanned<toml::Table>>,
}

impl Instance {
    /// Returns the rights and limits of the child process. `resolve` makes a path absolute.
    pub(crate) fn sandbox(&self, resolve: impl Fn(&Path) -> Result<PathBuf>) -> Result<SandboxSettings> {
        let resolved = |paths: &Option<Vec<PathBuf>>| {
            paths.as_ref().map(|paths| paths.iter().map(|path| resolve(path)).collect()).transpose()
        };
        Ok(SandboxSettings::default()
            .with_sandbox(self.sandbox)
            .with_read(resolved(&self.read)?)
            .with_write(resolved(&self.write)?)
            .with_env(self.env.clone())
            .with_network(self.network)
            .with_processes(self.processes)
            .with_memory(self.memory)
            .with_files(self.files)
            .with_cpu(self.cpu))
    }
}
