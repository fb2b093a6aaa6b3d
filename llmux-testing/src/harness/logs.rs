//! The log of a harness: the records of its plugins, and the hooks that failed.
//!
//! Plugins that are compiled in log by themselves. Plugins that are loaded from a library log through the host. Both
//! read alike here: the message, then ` name=value` for each field.

use std::fmt;

use llmux_core::{PLUGIN_LOG, plugins::LOADING};
use tracing::{Level, Metadata};

use crate::logs::{Capture, Record};

/// A record that a plugin logged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Log {
    /// Level.
    pub level: Level,
    /// Target: the module, unless the plugin sets another target.
    pub target: String,
    /// Message, then ` name=value` for each field.
    pub message: String,
}

impl fmt::Display for Log {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}: {}", self.level, self.target, self.message)
    }
}

/// Targets of the host itself, and of the libraries that it uses.
const HOST: [&str; 11] = [
    "llmux_core",
    LOADING,
    "llmux::audit",
    "hyper",
    "hyper_util",
    "reqwest",
    "rustls",
    "h2",
    "mio",
    "tokio",
    "want",
];

fn is_of(target: &str, root: &str) -> bool {
    target.strip_prefix(root).is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
}

fn is_host(target: &str) -> bool {
    HOST.iter().any(|root| is_of(target, root))
}

/// Starts the capture of a harness. Of the host's records it takes warnings and errors only, which include failures
/// of hooks.
pub(super) fn capture() -> Capture {
    Capture::start(|metadata: &Metadata<'_>| !is_host(metadata.target()) || *metadata.level() <= Level::WARN)
}

/// Returns the records of plugins.
pub(super) fn of_plugins(capture: &Capture) -> Vec<Log> {
    let log = |mut record: Record| {
        if record.target == PLUGIN_LOG {
            // The host adds both after the plugin's own fields.
            record.target = record.take("source").unwrap_or_default();
            record.take("instance");
        } else if is_host(&record.target) {
            return None;
        }
        Some(Log { level: record.level, message: record.text(), target: record.target })
    };
    capture.records().into_iter().filter_map(log).collect()
}

/// Returns the hooks that failed after the first records, one sentence each.
pub(super) fn failures(capture: &Capture, after: usize) -> Vec<String> {
    let failure = |mut record: Record| {
        if !is_of(&record.target, "llmux_core") {
            return None;
        }
        // Only the record of a failed hook has all three fields.
        let (instance, hook) = (record.take("instance")?, record.take("hook")?);
        let panicked = if record.take("failure")? == "panic" { "panicked: " } else { "" };
        let why = record.message.strip_prefix("a plugin failed: ").unwrap_or(&record.message);
        Some(format!("`{instance}` in {hook}: {panicked}{why}"))
    };
    capture.records_after(after).into_iter().filter_map(failure).collect()
}
