//! Lines of the program outside of the log: the start line, and the last line before a failure ends it. If the log is JSON,
//! these lines are JSON, too.
//!
//! `serve` sets the format and prints the start line; `main` and `serve::signals` write the last line.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use serde_json::json;
use tracing_subscriber::fmt::{format::Writer, time::FormatTime, time::SystemTime};

use super::logging::LogFormat;

static IS_JSON: AtomicBool = AtomicBool::new(false);

/// Sets the format of the lines. Default: text.
pub(crate) fn set_format(format: LogFormat) {
    IS_JSON.store(format == LogFormat::Json, Relaxed);
}

/// Returns a line with its end.
pub(crate) fn line(level: &str, message: &str) -> String {
    match IS_JSON.load(Relaxed) {
        true => json_line(level, message),
        false => format!("{message}\n"),
    }
}

/// Returns a line in the form of the log.
fn json_line(level: &str, message: &str) -> String {
    let mut time = String::new();
    // Writing to a string does not fail.
    let _ = SystemTime.format_time(&mut Writer::new(&mut time));
    let line = json!({"timestamp": time, "level": level, "message": message, "target": "llmux"});
    format!("{line}\n")
}
