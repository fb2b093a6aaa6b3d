//! Captures the log records of one thread for a test.
//!
//! The events of a compiled-in plugin carry their fields. The events of a loaded plugin reach the host as one line of
//! text with the fields behind the message. Both are read into one type, [`Event`]. The log of a process is added to
//! the test's log after the process has ended.

use std::{
    cell::RefCell,
    collections::BTreeMap,
    fmt::Debug,
    sync::{Arc, Mutex, Once, PoisonError},
};

use serde_json::Value;
use tracing::{
    Metadata, Subscriber,
    field::{Field, Visit},
    span,
    subscriber::Interest,
};

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
    /// Returns a field; `None` if the event has no such field.
    pub fn field(&self, name: &str) -> Option<&str> {
        self.fields.get(name).map(String::as_str)
    }
}

/// Log of this thread. The capture ends when the value is dropped.
pub struct Log {
    events: Arc<Mutex<Vec<Event>>>,
}

thread_local! {
    /// Listener of this thread.
    static LISTENER: RefCell<Option<Listener>> = const { RefCell::new(None) };
}

#[derive(Clone)]
struct Listener {
    events: Arc<Mutex<Vec<Event>>>,
    most: tracing::Level,
}

impl Drop for Log {
    fn drop(&mut self) {
        LISTENER.set(None);
    }
}

/// Installs the subscriber of the process before any plugin logs. All tests share one subscriber: with one subscriber
/// for each thread, an event that first occurs on a thread without a subscriber could stay disabled everywhere.
pub(crate) fn install() {
    static INSTALLED: Once = Once::new();
    INSTALLED.call_once(|| {
        tracing::subscriber::set_global_default(Router).expect("no test sets another subscriber");
    });
}

impl Log {
    /// Starts to capture events of this level (`tracing`'s order) and of more important levels.
    pub fn listen(most: tracing::Level) -> Self {
        install();
        let events = Arc::<Mutex<Vec<Event>>>::default();
        LISTENER.set(Some(Listener { events: Arc::clone(&events), most }));
        Self { events }
    }

    /// Returns the events of plugins so far.
    pub fn events(&self) -> Vec<Event> {
        self.events.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Returns the events with this message.
    pub fn said(&self, message: &str) -> Vec<Event> {
        self.events().into_iter().filter(|event| event.message == message).collect()
    }
}

/// Passes each event to the listener of the thread on which the event occurs.
struct Router;

impl Subscriber for Router {
    fn register_callsite(&self, _: &'static Metadata<'static>) -> Interest {
        // Who listens changes.
        Interest::sometimes()
    }

    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target().starts_with("llmux")
            && LISTENER.with_borrow(|it| it.as_ref().is_some_and(|it| *metadata.level() <= it.most))
    }

    fn event(&self, event: &tracing::Event<'_>) {
        let Some(listener) = LISTENER.with_borrow(Clone::clone) else { return };
        let target = event.metadata().target();
        if target != PLUGIN && !target.starts_with("llmux_plugin") {
            return;
        }
        let mut seen = Event { level: event.metadata().level().to_string(), ..Event::default() };
        event.record(&mut seen);
        seen.whole = format!("{} {:?}", seen.message, seen.fields);
        if target == PLUGIN {
            split(&mut seen);
        }
        listener.events.lock().unwrap_or_else(PoisonError::into_inner).push(seen);
    }

    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }
    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}
    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}
    fn enter(&self, _: &span::Id) {}
    fn exit(&self, _: &span::Id) {}
}

impl Visit for Event {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.fields.insert(field.name().to_owned(), value.to_owned());
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        match field.name() {
            "message" => self.message = format!("{value:?}"),
            name => {
                self.fields.insert(name.to_owned(), format!("{value:?}"));
            }
        }
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
