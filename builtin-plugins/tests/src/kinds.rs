//! The built-in plugins by name, each in three kinds: compiled into this program, as a library, and as a library in
//! an `llmux` process.
//!
//! Cargo builds the libraries when a test first asks for one, in the profile of this crate. Cargo reports the paths
//! of the files. Cargo's lock prevents two test programs from building at once. Each program keeps copies, so that a
//! later build does not change the files that the program loads.

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    sync::OnceLock,
};

use llmux_core::PluginSpec;
use llmux_plugin_cache::Cache;
use llmux_plugin_logging::Logging;
use llmux_plugin_metrics::Metrics;
use llmux_plugin_rate_limit::RateLimit;
use llmux_testing::{
    Build,
    build::{Artifact, copy_stripped},
};
use serde_json::Value;
use tempfile::TempDir;

/// A built-in plugin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names say it")]
pub enum Builtin {
    RateLimit,
    Cache,
    Metrics,
    Logging,
}

/// Origin of a plugin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Compiled into this program.
    Compiled,
    /// Loaded from a library.
    Loaded,
    /// Loaded from a library, in an `llmux` in a process of its own.
    Process,
}

/// A plugin instance to build a [`World`](crate::World) with.
pub enum Part {
    /// Returns an instance in this process.
    Spec(Box<PluginSpec>),
    /// An instance in an `llmux` process, with its configuration.
    Configured(Builtin, Value),
}

impl From<PluginSpec> for Part {
    fn from(spec: PluginSpec) -> Self {
        Part::Spec(Box::new(spec))
    }
}

/// A way in which a test runs.
#[derive(Clone, Copy, Debug)]
pub struct Way {
    /// Origin of the plugins.
    pub kind: Kind,
    /// True if the requests stream.
    pub stream: bool,
}

impl Builtin {
    /// All built-in plugins, in the order in which they run.
    pub const ALL: [Builtin; 4] = [Builtin::RateLimit, Builtin::Cache, Builtin::Metrics, Builtin::Logging];

    /// Returns the name in the manifest.
    pub fn name(self) -> &'static str {
        match self {
            Builtin::RateLimit => "rate-limit",
            Builtin::Cache => "cache",
            Builtin::Metrics => "metrics",
            Builtin::Logging => "logging",
        }
    }

    /// Returns an instance with a configuration.
    pub fn with(self, kind: Kind, config: Value) -> Part {
        match kind {
            Kind::Process => Part::Configured(self, config),
            Kind::Compiled | Kind::Loaded => self.spec(kind, config).into(),
        }
    }

    /// Returns an instance in this process.
    ///
    /// # Panics
    ///
    /// For an instance in another process.
    pub fn spec(self, kind: Kind, config: Value) -> PluginSpec {
        let spec = match (kind, self) {
            (Kind::Loaded, _) => PluginSpec::path(self.library()),
            (Kind::Compiled, Builtin::RateLimit) => PluginSpec::compiled::<RateLimit>(),
            (Kind::Compiled, Builtin::Cache) => PluginSpec::compiled::<Cache>(),
            (Kind::Compiled, Builtin::Metrics) => PluginSpec::compiled::<Metrics>(),
            (Kind::Compiled, Builtin::Logging) => PluginSpec::compiled::<Logging>(),
            (Kind::Process, _) => panic!("a process has plugins of its own"),
        };
        spec.with_config(config)
    }

    /// Returns the library's file, and builds the file if necessary.
    ///
    /// # Panics
    ///
    /// If the library cannot be built.
    pub fn library(self) -> PathBuf {
        libraries().1[&self.package().replace('-', "_")].clone()
    }

    /// Returns the folder of all libraries.
    ///
    /// # Panics
    ///
    /// If the libraries cannot be built.
    pub fn library_folder() -> &'static Path {
        libraries().0.path()
    }

    fn package(self) -> String {
        format!("llmux-plugin-{}", self.name())
    }
}

fn libraries() -> &'static (TempDir, HashMap<String, PathBuf>) {
    static LIBRARIES: OnceLock<(TempDir, HashMap<String, PathBuf>)> = OnceLock::new();
    LIBRARIES.get_or_init(build)
}

/// Builds the four libraries and copies them. Returns the copies by the names of their crates.
fn build() -> (TempDir, HashMap<String, PathBuf>) {
    let folder = TempDir::new().expect("a folder for the libraries");
    let built = Build::packages(Builtin::ALL.map(Builtin::package)).apart("libraries").artifacts();
    // Cargo reports the libraries of procedural macros, too.
    let plugins = built.into_iter().filter(|built| built.name.starts_with("llmux_plugin_"));
    let copies = plugins.map(|Artifact { name, path, .. }| {
        let copy = folder.path().join(path.file_name().expect("a file"));
        // A host reads and hashes the whole file at every load.
        copy_stripped(&path, &copy);
        (name, copy)
    });
    let copies = copies.collect();
    (folder, copies)
}
