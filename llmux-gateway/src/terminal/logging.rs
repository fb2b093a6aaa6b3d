//! Logs: text or JSON on standard error, written by a thread of its own, so that a full pipe delays no request.
//!
//! Lines are dropped rather than waited for; how many is said while the program runs and when it ends.

use std::time::Duration;

use clap::ValueEnum;
use llmux_terminal::{CliError, Result};
use serde::Deserialize;
use tracing_appender::non_blocking::{ErrorCounter, NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::EnvFilter;

/// How often dropped lines are looked for.
const REPORT_EVERY: Duration = Duration::from_secs(10);

/// Format of log lines.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(crate) enum LogFormat {
    #[default]
    Text,
    Json,
}

/// The log's other end. Lines under way are written when it is dropped.
pub(crate) struct Log {
    dropped: ErrorCounter,
    _writer: WorkerGuard,
}

/// Starts logging. `RUST_LOG` decides what is logged; where it is not set, `level` does.
pub(crate) fn start(level: &str, format: LogFormat) -> Result<Log> {
    let directives = std::env::var("RUST_LOG").ok().filter(|text| !text.is_empty());
    let directives = directives.as_deref().unwrap_or(level);
    // Who changed what is logged at every level, unless the directives speak of it themselves.
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
    /// Says now and then how many lines were dropped. Runs for as long as the program.
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

    /// Ends the log.
    pub(crate) fn end(self) {
        let lines = self.dropped.dropped_lines();
        if lines > 0 {
            tracing::warn!(lines, "log lines were dropped in all");
        }
    }
}
