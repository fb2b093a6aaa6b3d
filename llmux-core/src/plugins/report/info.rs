//! What an operator sees of the plugins.

use std::{
    path::{Path, PathBuf},
    sync::atomic::Ordering,
    time::SystemTime,
};

use serde::Serialize;

use crate::{
    boundary::library::Retired,
    pipeline::{
        HookKind,
        stats::{HookCounts, Stats},
    },
    plugins::library::manifest::OnError,
};

/// An instance, as it is now.
#[derive(Clone, Debug, Serialize)]
pub struct PluginInfo {
    /// Its name.
    pub name: String,
    /// The plugin's name.
    pub plugin: String,
    /// The plugin's version, where it has a manifest.
    pub version: Option<String>,
    /// Compiled in, or loaded.
    pub kind: PluginKind,
    /// The library's file.
    #[serde(serialize_with = "as_text")]
    pub library: Option<PathBuf>,
    /// Where it stands.
    pub state: PluginState,
    /// Its priority.
    pub priority: i32,
    /// What becomes of a request when a hook fails.
    pub on_error: OnError,
    /// Which image of its library it runs, from 1; 0 when compiled in.
    pub generation: u64,
    /// The SHA-256 of the library's bytes.
    pub sha256: Option<String>,
    /// Seconds since the Unix epoch at which it was made.
    pub loaded_at: u64,
    /// Has the library's file gone? The image runs on (rule D6).
    pub file_missing: bool,
    /// The origin of the instance.
    pub origin: Origin,
    /// Why it failed, or why the last reload of its library was refused.
    pub error: Option<String>,
    /// What its hooks have done; those never called are left out.
    pub hooks: Vec<HookInfo>,
}

/// The origin of the wish that an instance runs.
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

/// Is a plugin part of the host, or of a file?
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum PluginKind {
    /// Compiled into the host.
    Static,
    /// Loaded from a library.
    Library,
}

/// Where an instance stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum PluginState {
    /// In the pipeline.
    Active,
    /// Kept alive outside of the pipeline.
    Disabled,
    /// Out of the pipeline; requests that entered before still use it.
    Draining,
    /// A library that was refused: there is no instance.
    Failed,
}

impl PluginState {
    /// The state's name.
    pub fn as_str(self) -> &'static str {
        match self {
            PluginState::Active => "active",
            PluginState::Disabled => "disabled",
            PluginState::Draining => "draining",
            PluginState::Failed => "failed",
        }
    }
}

/// What one hook has done.
#[derive(Clone, Debug, Serialize)]
pub struct HookInfo {
    /// The hook's name.
    pub hook: &'static str,
    /// How often it was called.
    pub calls: u64,
    /// How often it failed in any way.
    pub failures: u64,
    /// How often it ran past its timeout.
    pub timeouts: u64,
    /// How often it panicked.
    pub panics: u64,
    /// Bytes of JSON that the plugin read from documents.
    pub bytes_read: u64,
    /// Bytes of JSON that the plugin wrote into documents and replies.
    pub bytes_written: u64,
    /// The time of all calls together, in microseconds.
    pub total_us: f64,
    /// Half of the calls took no longer, in microseconds.
    pub p50_us: f64,
    /// All but a hundredth of the calls took no longer, in microseconds.
    pub p99_us: f64,
}

/// The images that no instance uses any more. They stay mapped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct RetiredImages {
    /// How many.
    pub count: u64,
    /// The size of their files, in bytes.
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
                HookCounts { calls, errors, panics, timeouts, bytes_read, bytes_written, total, p50, p99 },
            )| HookInfo {
                bytes_read,
                bytes_written,
                hook: hook.as_str(),
                calls,
                failures: errors + panics + timeouts,
                timeouts,
                panics,
                total_us: total.as_nanos() as f64 / 1000.0,
                p50_us: p50.as_nanos() as f64 / 1000.0,
                p99_us: p99.as_nanos() as f64 / 1000.0,
            },
        )
        .collect()
}

/// A path as text, whatever its bytes: one name in a folder must not take the whole list with it.
pub(in crate::plugins) fn as_text<S: serde::Serializer>(
    path: &Option<PathBuf>,
    to: S,
) -> Result<S::Ok, S::Error> {
    path.as_deref().map(Path::to_string_lossy).serialize(to)
}

/// Is there no such file? One that cannot be looked at may well be there.
pub(in crate::plugins) fn is_gone(path: &Path) -> bool {
    path.try_exists().is_ok_and(|exists| !exists)
}

pub(in crate::plugins) fn seconds(time: SystemTime) -> u64 {
    time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs()
}
