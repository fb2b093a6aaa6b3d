//! What is logged while a harness lives: a subscriber of its own, on the test's thread alone.
//!
//! `harness` installs it. Plugins compiled in log straight to it; those loaded from a library through the host.
//! Both are written alike: the message, then ` name=value` for each field. Deliberately absent: spans.

use std::{
    fmt::{self, Write},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tracing::{
    Event, Level, Metadata, Subscriber,
    field::{Field, Visit},
    span,
};

/// A record that a plugin logged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Log {
    /// Its level.
    pub level: Level,
    /// Its target: the module, unless the plugin says otherwise.
    pub target: String,
    /// The message, then ` name=value` for each field.
    pub message: String,
}

impl fmt::Display for Log {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}: {}", self.level, self.target, self.message)
    }
}

/// The target of what a host logs for a loaded plugin.
const FORWARDED: &str = "llmux::plugin";
/// The host's own records, and those of the libraries it stands on.
const HOST: [&str; 10] =
    ["llmux_core", "llmux::audit", "hyper", "hyper_util", "reqwest", "rustls", "h2", "mio", "tokio", "want"];

/// The records of one harness.
#[derive(Clone, Default)]
pub(super) struct Logs(Arc<Mutex<Records>>);

#[derive(Default)]
struct Records {
    plugins: Vec<Log>,
    failures: Vec<String>,
}

impl Logs {
    fn records(&self) -> MutexGuard<'_, Records> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What the plugins logged.
    pub(super) fn plugins(&self) -> Vec<Log> {
        self.records().plugins.clone()
    }

    /// The hooks that failed, a sentence each.
    pub(super) fn failures(&self) -> Vec<String> {
        self.records().failures.clone()
    }
}

fn is_of(target: &str, root: &str) -> bool {
    target.strip_prefix(root).is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
}

impl Subscriber for Logs {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        let target = metadata.target();
        // The host's own only where it says that a hook failed.
        let is_host = HOST.iter().any(|root| is_of(target, root));
        !metadata.is_span() && (!is_host || *metadata.level() <= Level::WARN)
    }

    fn event(&self, event: &Event<'_>) {
        let mut record = Record::default();
        event.record(&mut record);
        let (level, target) = (*event.metadata().level(), event.metadata().target());
        let log = |target: &str, message: String| Log { level, target: target.to_owned(), message };
        if target == FORWARDED {
            let source = record.take("source").unwrap_or_default();
            self.records().plugins.push(log(&source, record.message));
        } else if is_of(target, "llmux_core") {
            // Only a failure says of what kind it is: other warnings are about plugins, and end nothing.
            if let (Some(instance), Some(hook), Some(kind)) =
                (record.take("instance"), record.take("hook"), record.take("failure"))
            {
                let why = record.message.strip_prefix("a plugin failed: ").unwrap_or(&record.message);
                let panicked = if kind == "panic" { "panicked: " } else { "" };
                self.records().failures.push(format!("`{instance}` in {hook}: {panicked}{why}"));
            }
        } else if !HOST.iter().any(|root| is_of(target, root)) {
            self.records().plugins.push(log(target, record.into_text()));
        }
    }

    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }
    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}
    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}
    fn enter(&self, _: &span::Id) {}
    fn exit(&self, _: &span::Id) {}
}

/// An event's message and fields.
#[derive(Default)]
struct Record {
    message: String,
    fields: Vec<(&'static str, String)>,
}

impl Record {
    fn take(&mut self, name: &str) -> Option<String> {
        let at = self.fields.iter().position(|(there, _)| *there == name)?;
        Some(self.fields.remove(at).1)
    }

    /// As a host writes the fields of a loaded plugin's record.
    fn into_text(self) -> String {
        let mut text = self.message;
        for (name, value) in self.fields {
            let quoted = value.contains([' ', '"', '=']) || value.is_empty();
            // Writing to a string does not fail.
            let _ = if quoted { write!(text, " {name}={value:?}") } else { write!(text, " {name}={value}") };
        }
        text
    }

    fn keep(&mut self, field: &Field, value: String) {
        match field.name() {
            "message" => self.message = value,
            name => self.fields.push((name, value)),
        }
    }
}

impl Visit for Record {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.keep(field, format!("{value:?}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.keep(field, value.to_owned());
    }
}
