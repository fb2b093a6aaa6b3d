//! Log: text or JSON on standard error, written by a thread of its own, so that a full pipe delays no request.
//!
//! `serve` and `chat` start it. Errors are written at once, where standard error takes them (`urgent`). If the thread cannot keep up, lines are dropped; the log reports their number while the
//! program runs and when it ends.

use std::{
    io::{self, BufWriter, Write},
    sync::Arc,
    time::Duration,
};

use clap::ValueEnum;
use llmux_core::plugins::LOADING;
use llmux_terminal::{CliError, Result};
use serde::Deserialize;
use tracing::level_filters::LevelFilter;
use tracing_appender::non_blocking::{ErrorCounter, NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::{EnvFilter, field::MakeExt, fmt::format::debug_fn};

use super::{
    clock::Clock,
    line::{self, Lines},
    plugin_line::PluginLines,
    urgent,
};

/// Interval of the reports about dropped lines.
const REPORT_EVERY: Duration = Duration::from_secs(10);

/// Most lines that wait for the thread of the log. Under load, all their places are in memory.
const MAX_WAITING: usize = 16_384;

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

/// The level of the log, which can change while it runs.
#[derive(Clone)]
pub(crate) struct Level(Arc<dyn Fn(EnvFilter) + Send + Sync>);

impl Level {
    /// Replaces the filter of the log.
    pub(crate) fn set(&self, filter: EnvFilter) {
        (self.0)(filter);
    }
}

/// Returns the filter of a level. The environment variable `RUST_LOG` overrides the level.
///
/// # Errors
///
/// If it is neither a level nor a list of directives.
pub(crate) fn filter(level: &str) -> Result<EnvFilter> {
    let directives = std::env::var("RUST_LOG").ok().filter(|text| !text.is_empty());
    let directives = directives.as_deref().unwrap_or(level);
    let refused = |why: &dyn std::fmt::Display| {
        CliError::new(format!(
            "log level `{directives}`: {why}; one of off, error, warn, info, debug, trace, or directives as RUST_LOG takes \
             them, such as `info,llmux::plugin=debug`"
        ))
    };
    // A word alone names a target, so that a misspelt level would silence everything else.
    let is_level = |word: &str| word.parse::<LevelFilter>().is_ok();
    if let Some(word) = directives.split(',').map(str::trim).find(|word| is_word(word) && !is_level(word)) {
        return Err(refused(&format_args!("`{word}` is no level")));
    }
    if directives.trim().is_empty() {
        return Err(refused(&"it is empty"));
    }
    // The audit log, and the line before the load of a library, are written at every level, unless the directives name
    // them themselves.
    let directives = format!("llmux::audit=info,{LOADING}=info,{directives}");
    EnvFilter::try_new(directives).map_err(|error| refused(&error))
}

/// Returns true if a directive has no level of its own: neither `target=level` nor a span in brackets.
fn is_word(directive: &str) -> bool {
    !directive.ends_with(']') && directive.split_once('=').is_none_or(|(_, level)| level.trim().is_empty())
}

/// Starts the log. Returns it with its level.
///
/// # Errors
///
/// If the level is not valid, or the program has a log already.
pub(crate) fn start(level: &str, format: LogFormat) -> Result<(Log, Level)> {
    let filter = filter(level)?;
    // Lines that wait are written together. Each piece is whole lines, and a pipe takes it as a whole, so that an urgent
    // line is never inside of another one.
    let pieces = Paced(BufWriter::with_capacity(urgent::MAX, std::io::stderr()));
    let (writer, guard) =
        NonBlockingBuilder::default().lossy(true).buffered_lines_limit(MAX_WAITING).finish(pieces);
    let dropped = writer.error_counter();
    let writer = Lines { writers: writer, json: format == LogFormat::Json };
    let builder = tracing_subscriber::fmt().with_timer(Clock).with_env_filter(filter).with_writer(writer);
    // A handle fails only when the log is gone.
    let (started, level): (_, Arc<dyn Fn(EnvFilter) + Send + Sync>) = match format {
        LogFormat::Json => {
            let builder = builder.json().flatten_event(true).map_event_format(PluginLines);
            let builder = builder.with_filter_reloading();
            let handle = builder.reload_handle();
            (builder.try_init(), Arc::new(move |filter| drop(handle.reload(filter))))
        }
        LogFormat::Text => {
            let colors = llmux_terminal::colors(&std::io::stderr());
            let fields = debug_fn(line::field).delimited(" ");
            let builder = builder.with_ansi(colors).fmt_fields(fields).with_filter_reloading();
            let handle = builder.reload_handle();
            (builder.try_init(), Arc::new(move |filter| drop(handle.reload(filter))))
        }
    };
    started.map_err(|error| CliError::new(format!("cannot start the log: {error}")))?;
    Ok((Log { dropped, _writer: guard }, Level(level)))
}

/// Pause of the log's thread after it has written all lines that waited.
const PAUSE: Duration = Duration::from_millis(1);

/// A writer whose flush is followed by a pause.
///
/// The thread of the log flushes when no line waits. During the pause, lines gather without waking the thread. A wake-up for
/// each line would cost more than the line.
struct Paced<W>(W);

impl<W: Write> Write for Paced<W> {
    fn write(&mut self, lines: &[u8]) -> io::Result<usize> {
        self.0.write(lines)
    }

    fn flush(&mut self) -> io::Result<()> {
        let flushed = self.0.flush();
        std::thread::sleep(PAUSE);
        flushed
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_level_that_is_none_is_refused_and_silences_nothing() {
        for good in
            ["info", "INFO", "3", "off", "warn,llmux::plugin=debug", "llmux=trace,error", "info,[span]"]
        {
            filter(good).unwrap_or_else(|why| panic!("{good}: {why}"));
        }
        for wrong in ["infoo", "Warning", "verbose", "", " ", "loud=", "info,debgu", "llmux=loud"] {
            let refused = filter(wrong).expect_err(wrong).to_string();
            assert!(refused.contains("one of off, error, warn"), "{refused}");
        }
    }
}
