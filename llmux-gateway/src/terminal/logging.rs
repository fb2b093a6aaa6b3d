//! Log: text or JSON on standard error, written by a thread of its own, so that a full pipe delays no request.
//!
//! `serve` and `chat` start it. If the thread cannot keep up, lines are dropped; the log reports their number while the
//! program runs and when it ends.

use std::time::Duration;

use clap::ValueEnum;
use llmux_terminal::{CliError, Result};
use serde::Deserialize;
use tracing_appender::non_blocking::{ErrorCounter, NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::EnvFilter;

/// Interval of the reports about dropped lines.
const REPORT_EVERY: Duration = Duration::from_secs(10);

/// Format of log lines.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(crate) enum LogFormat {
    #[default]
    Text,
    Json,
}

/// The running log. Its queued lines are written when it is dropped.
pub(crate) struct Log {
    dropped: ErrorCounter,
    _writer: WorkerGuard,
}

/// Starts the log. `RUST_LOG` selects what is logged; if it is not set, `level` does.
///
/// # Errors
///
/// If the level or `RUST_LOG` is not valid.
pub(crate) fn start(level: &str, format: LogFormat) -> Result<Log> {
    let directives = std::env::var("RUST_LOG").ok().filter(|text| !text.is_empty());
    let directives = directives.as_deref().unwrap_or(level);
    // The audit log is on at every level, unless the directives name it.
    let filter = EnvFilter::try_new(format!("llmux::audit=info,{directives}")).map_err(|error| {
        CliError::new(format!(
            "log level `{directives}`: {error}; one of error, warn, info, debug, trace, or directives as RUST_LOG takes them"
        ))
    })?;
    let (writer, guard) = NonBlockingBuilder::default().lossy(true).finish(std::io::stderr());
    let dropped = writer.error_counter();
    let subscriber = tracing_subscriber::fmt().with_env_filter(filter).with_writer(writer);
    let started = match format {
        LogFormat::Json => subscriber.json().flatten_event(true).try_init(),
        LogFormat::Text => subscriber.with_ansi(llmux_terminal::colors(&std::io::stderr())).try_init(),
    };
    started.map_err(|error| CliError::new(format!("cannot start the log: {error}")))?;
    Ok(Log { dropped, _writer: guard })
}

impl Log {
    /// Starts a task that reports dropped lines regularly, until the program ends.
    pub(crate) fn report_drops(&self) {
        let dropped = self.dropped.clone();
        tokio::spawn(async move {
            let mut known = 0;
            loop {
                tokio::time::sleep(REPORT_EVERY).await;
                let now = dropped.dropped_lines();
                if now > known {
                    tracing::warn!(lines = now - known, "log lines were dropped: standard error is too slow");
                    known = now;
                }
            }
        });
    }

    /// Ends the log, and reports all dropped lines.
    pub(crate) fn end(self) {
        let lines = self.dropped.dropped_lines();
        if lines > 0 {
            tracing::warn!(lines, "log lines were dropped in all");
        }
    }
}
