//! Captures the log records of one thread for a test.
//!
//! The events of a compiled-in plugin carry their fields. The events of a loaded plugin reach the host with the fields as
//! JSON, which the capture reads. The log of a process is added to the test's log after the process has ended.

use std::collections::BTreeMap;

use llmux_core::PLUGIN_LOG;
use llmux_testing::{Capture, logs::Record};
use serde_json::{Map, Value};

/// One event of a plugin.
#[derive(Clone, Debug, Default)]
pub struct Event {
    /// Level, such as `INFO`.
    pub level: String,
    /// Message, such as `request completed`.
    pub message: String,
    /// Fields as text; strings have no quotes.
    pub fields: BTreeMap<String, String>,
    /// Fields as JSON.
    pub members: Map<String, Value>,
    /// Everything that was written, whatever the names of the fields.
    pub whole: String,
}

impl Event {
    /// Returns the event of a record; `None` if no plugin logged it.
    fn of_plugin(record: Record) -> Option<Self> {
        if record.target != PLUGIN_LOG && !record.target.starts_with("llmux_plugin") {
            return None;
        }
        let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        Some(Self {
            level: record.level.to_string(),
            whole: format!("{} {:?}", record.message, record.fields),
            fields: record.fields.iter().map(|(name, value)| (name.clone(), text(value))).collect(),
            members: record.fields.into_iter().collect(),
            message: record.message,
        })
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

/// Adds to this thread's log the records of plugins in the log of a process: lines, each a JSON object. The members that are
/// not the host's are the fields.
pub(crate) fn relay(lines: &str) {
    for line in lines.lines() {
        let mut line: Map<String, Value> =
            serde_json::from_str(line).unwrap_or_else(|why| panic!("no JSON, {why}: {line}"));
        if line["target"] != PLUGIN_LOG {
            continue;
        }
        let [_, _, _, _, level, message] =
            ["timestamp", "target", "instance", "source", "level", "message"].map(|name| line.remove(name));
        let (level, message) = level.zip(message).expect("a level and a message");
        let (message, fields) = (message.as_str().expect("a text"), Value::Object(line));
        match level.as_str().expect("a text") {
            "TRACE" => tracing::trace!(target: PLUGIN_LOG, plugin_fields = %fields, "{message}"),
            "DEBUG" => tracing::debug!(target: PLUGIN_LOG, plugin_fields = %fields, "{message}"),
            "INFO" => tracing::info!(target: PLUGIN_LOG, plugin_fields = %fields, "{message}"),
            "WARN" => tracing::warn!(target: PLUGIN_LOG, plugin_fields = %fields, "{message}"),
            _ => tracing::error!(target: PLUGIN_LOG, plugin_fields = %fields, "{message}"),
        }
    }
}
