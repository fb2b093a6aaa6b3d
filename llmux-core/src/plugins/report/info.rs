//! The list of plugins that an operator sees.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::atomic::Ordering,
    time::SystemTime,
};

use serde::Serialize;

use crate::{
    boundary::library::Retired,
    isolation::plan::Facts,
    pipeline::{
        HookKind,
        stats::{HookCounts, Stats},
    },
    plugins::library::{
        isolation::Isolation,
        manifest::{OnError, Streams},
    },
};

/// State of an instance.
#[derive(Clone, Debug, Serialize)]
pub struct PluginInfo {
    /// Name of the instance.
    pub name: String,
    /// Name of the plugin.
    pub plugin: String,
    /// Version of the plugin; `None` without a manifest.
    pub version: Option<String>,
    /// Whether the plugin is compiled in or loaded.
    pub kind: PluginKind,
    /// File of the library.
    #[serde(serialize_with = "as_text")]
    pub library: Option<PathBuf>,
    /// True if the host holds its private copy of the library in memory, because no folder for it can be used.
    pub copy_in_memory: bool,
    /// State of the instance.
    pub state: PluginState,
    /// Priority of the instance.
    pub priority: i32,
    /// Whether a failed hook fails the request.
    pub on_error: OnError,
    /// Generation of its library, from 1; 0 if compiled in.
    pub generation: u64,
    /// SHA-256 of the library's bytes, in hexadecimal.
    pub sha256: Option<String>,
    /// Time of the construction, in seconds since the Unix epoch.
    pub loaded_at: u64,
    /// True if the library's file is gone. The image runs on (rule D6).
    pub file_missing: bool,
    /// Origin of the instance.
    pub origin: Origin,
    /// True if streamed answers are not seen by this plugin, and its manifest does not say that this is intended (rule S5).
    pub misses_streams: bool,
    /// Reason of the failure, or of the refusal of the last reload of its library.
    pub error: Option<String>,
    /// The place where its code runs.
    pub isolation: Isolation,
    /// The child process of an isolated instance.
    pub process: Option<ProcessInfo>,
    /// Relation to streamed answers. `None` if the manifest does not say.
    pub streams: Option<Streams>,
    /// Names of the hooks that the plugin has; none for a library that was refused.
    pub implements: Vec<&'static str>,
    /// Number of requests that the instance answered or refused in the provider's place (rule P2). They went back from there,
    /// so that the instances after it did not see them.
    pub short_circuits: u64,
    /// Number of those short circuits that were answers from a cache.
    pub cached: u64,
    /// Counts of the hooks, without hooks that were never called.
    pub hooks: Vec<HookInfo>,
}

/// The child process of an isolated instance (rule I3).
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct ProcessInfo {
    /// `active`; `restarting` after a death; `starting` while the next child loads the library; `failed` after five deaths within a minute; `ended` after the unload.
    pub state: &'static str,
    /// Id of the process; `None` while there is none.
    pub pid: Option<u32>,
    /// Number of deaths, by their reason: `signal`, `exit`, `memory` or `cpu` (killed at a limit), `killed` (by
    /// the host) or `start` (before the instance ran).
    pub deaths: BTreeMap<&'static str, u64>,
    /// The last death, with the signal or the exit code and the last lines of the output.
    pub last_death: Option<String>,
    /// Memory of the child in bytes, without pages of files; 0 while there is none. The host reads it each second.
    pub memory: u64,
    /// Time of the processor of all children of the instance, in seconds.
    pub cpu_seconds: f64,
    /// Parts of the sandbox that this system lacks, one sentence for each (rule I5). Empty if it has every part.
    pub missing_sandbox: Vec<String>,
}

impl ProcessInfo {
    pub(in crate::plugins) fn of(facts: Facts) -> Self {
        let Facts { state, pid, deaths, last_death, memory, cpu, missing_sandbox } = facts;
        Self { state, pid, deaths, last_death, memory, cpu_seconds: cpu.as_secs_f64(), missing_sandbox }
    }
}

/// The origin of an instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Origin {
    /// The configuration names the instance.
    Config,
    /// The library lies in a plugin folder and was autoloaded (rule D8).
    Folder,
    /// An operator loaded it.
    Operator,
    /// The program that embeds the host loaded it.
    Embedder,
}

/// Kind of a plugin.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum PluginKind {
    /// Compiled into the host.
    Static,
    /// Loaded from a library.
    Library,
}

/// State of an instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum PluginState {
    /// In the pipeline.
    Active,
    /// Alive, and outside of the pipeline.
    Disabled,
    /// Out of the pipeline; requests that entered before still use it.
    Draining,
    /// Out of the pipeline, and its cleanup, its tasks or its drop run past their bound: it holds a thread.
    Stuck,
    /// A library that was refused, of which there is no instance. Or an exclusive instance that could be made neither anew
    /// nor again: it is in the pipeline, and its hooks fail (rule D4).
    Failed,
}

impl PluginState {
    /// Returns the name of the state.
    pub fn as_str(self) -> &'static str {
        match self {
            PluginState::Active => "active",
            PluginState::Disabled => "disabled",
            PluginState::Draining => "draining",
            PluginState::Stuck => "stuck",
            PluginState::Failed => "failed",
        }
    }
}

/// Counts of one hook.
#[derive(Clone, Debug, Serialize)]
pub struct HookInfo {
    /// Name of the hook.
    pub hook: &'static str,
    /// Number of calls.
    pub calls: u64,
    /// Number of failures of any kind.
    pub failures: u64,
    /// Number of calls that ran past the timeout.
    pub timeouts: u64,
    /// Number of panics.
    pub panics: u64,
    /// Number of calls that failed because the child process of the instance died, or none was there.
    pub crashes: u64,
    /// Bytes of JSON that the plugin read from documents.
    pub bytes_read: u64,
    /// Bytes of JSON that the plugin wrote into documents and replies.
    pub bytes_written: u64,
    /// Total time of all calls, in microseconds.
    pub total_us: f64,
    /// 50th percentile of the time of a call, in microseconds.
    pub p50_us: f64,
    /// 99th percentile of the time of a call, in microseconds.
    pub p99_us: f64,
}

/// The images that no instance uses any more. They stay mapped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct RetiredImages {
    /// Number of images.
    pub count: u64,
    /// Total size of their files, in bytes.
    pub bytes: u64,
}

impl RetiredImages {
    pub(crate) fn of(retired: &Retired) -> Self {
        Self { count: retired.count.load(Ordering::Relaxed), bytes: retired.bytes.load(Ordering::Relaxed) }
    }
}

pub(in crate::plugins) fn hooks(stats: &Stats) -> Vec<HookInfo> {
    let called = HookKind::ALL.into_iter().map(|hook| (hook, stats.counts(hook)));
    called
        .filter(|(_, counts)| counts.calls > 0)
        .map(
            |(
                hook,
                HookCounts {
                    calls,
                    errors,
                    panics,
                    timeouts,
                    crashes,
                    bytes_read,
                    bytes_written,
                    total,
                    p50,
                    p99,
                },
            )| HookInfo {
                bytes_read,
                bytes_written,
                hook: hook.as_str(),
                calls,
                failures: errors + panics + timeouts + crashes,
                timeouts,
                panics,
                crashes,
                total_us: total.as_nanos() as f64 / 1000.0,
                p50_us: p50.as_nanos() as f64 / 1000.0,
                p99_us: p99.as_nanos() as f64 / 1000.0,
            },
        )
        .collect()
}

/// Serializes a path as text, even if it is not UTF-8: one file's name must not make the whole list fail.
pub(in crate::plugins) fn as_text<S: serde::Serializer>(
    path: &Option<PathBuf>,
    to: S,
) -> Result<S::Ok, S::Error> {
    path.as_deref().map(Path::to_string_lossy).serialize(to)
}

/// True if there is no such file. False if that cannot be determined.
pub(in crate::plugins) fn is_gone(path: &Path) -> bool {
    path.try_exists().is_ok_and(|exists| !exists)
}

pub(in crate::plugins) fn seconds(time: SystemTime) -> u64 {
    time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs()
}
