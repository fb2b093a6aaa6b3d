//! Captures the log records of one thread for a test.
//!
//! The events of a compiled-in plugin carry their fields. The events of a loaded plugin reach the host as one line of
//! text with the fields behind the message. Both are read into one type, [`Event`]. The log of a process is added to
//! the test's log after the process has ended.

use std::collections::BTreeMap;

use llmux_testing::{Capture, logs::Record};
use serde_json::Value;

/// Target under which the host logs the events of its libraries.
const PLUGIN: &str = "llmux::plugin";

/// One event of a plugin.
#[derive(Clone, Debug, Default)]
pub struct Event {
    /// Level, such as `INFO`.
    pub level: String,
    /// Message, such as `request completed`.
    pub message: String,
    /// Fields as text; strings have no quotes.
    pub fields: BTreeMap<String, String>,
    /// Everything that was written, whatever the names of the fields.
    pub whole: String,
}

impl Event {
    /// Returns the event of a record; `None` if no plugin logged it.
    fn of_plugin(record: Record) -> Option<Self> {
        let Record { level, target, message, fields } = record;
        if target != PLUGIN && !target.starts_with("llmux_plugin") {
            return None;
        }
        let fields = fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        let whole = format!("{message} {fields:?}");
        let mut event = Event { level: level.to_string(), message, fields, whole };
        if target == PLUGIN {
            split(&mut event);
        }
        Some(event)
    }

    /// Returns a field; `None` if the event has no such field.
    pub fn field(&self, name: &str) -> Option<&str> {
        self.fields.get(name).map(String::as_str)
    }
}

/// Log of this thread. The capture ends when the value is dropped.
pub struct Log(Capture);

impl Log {
    /// Starts to capture events of this level (`tracing`'s order) and of more important levels.
    pub fn listen(most: tracing::Level) -> Self {
        Self(Capture::start(move |event| event.target().starts_with("llmux") && *event.level() <= most))
    }

    /// Returns the events of plugins so far.
    pub fn events(&self) -> Vec<Event> {
        self.0.records().into_iter().filter_map(Event::of_plugin).collect()
    }

    /// Returns the events with this message.
    pub fn said(&self, message: &str) -> Vec<Event> {
        self.events().into_iter().filter(|event| event.message == message).collect()
    }
}

/// Adds to this thread's log the records of plugins in the log of a process: lines, each a JSON object.
pub(crate) fn relay(lines: &str) {
    for line in lines.lines() {
        let line: Value = serde_json::from_str(line).unwrap_or_else(|why| panic!("no JSON, {why}: {line}"));
        if line["target"] != PLUGIN {
            continue;
        }
        let message = line["message"].as_str().expect("a message");
        match line["level"].as_str().expect("a level") {
            "TRACE" => tracing::trace!(target: PLUGIN, "{message}"),
            "DEBUG" => tracing::debug!(target: PLUGIN, "{message}"),
            "INFO" => tracing::info!(target: PLUGIN, "{message}"),
            "WARN" => tracing::warn!(target: PLUGIN, "{message}"),
            _ => tracing::error!(target: PLUGIN, "{message}"),
        }
    }
}

/// Moves the fields ` name=value` from the end of a line into the event's fields.
fn split(event: &mut Event) {
    let line = std::mem::take(&mut event.message);
    let mut words = line.split(' ');
    let message: Vec<&str> = words.by_ref().take_while(|word| !word.contains('=')).collect();
    event.message = message.join(" ");
    let mut rest = line.get(event.message.len()..).unwrap_or_default();
    while let Some((name, after)) = rest.trim_start().split_once('=') {
        let end = match after.strip_prefix('"') {
            // A quoted value is written as Rust writes strings: it ends at a quote that is not escaped.
            Some(inside) => {
                let mut escaped = false;
                let quote = inside.find(|c| {
                    let ends = c == '"' && !escaped;
                    escaped = c == '\\' && !escaped;
                    ends
                });
                quote.map_or(after.len(), |at| at + 2)
            }
            None => after.find(' ').unwrap_or(after.len()),
        };
        let (value, after) = after.split_at(end);
        let unquoted = serde_json::from_str::<String>(value);
        let plain = || value.trim_matches('"').replace("\\\"", "\"");
        event.fields.insert(name.to_owned(), unquoted.unwrap_or_else(|_| plain()));
        rest = after;
    }
}
