//! Log capture for all tests: a single subscriber of the process routes each event to the capture of the thread on
//! which it occurs.
//!
//! With one subscriber for each thread, events are lost: an event that a thread without a subscriber reaches first may
//! stay disabled for all threads. Deliberately absent: spans.

use std::{
    cell::RefCell,
    fmt::{self, Write},
    future::poll_fn,
    pin::pin,
    sync::{Arc, Mutex, OnceLock},
};

use llmux_core::{LogFields, PLUGIN_LOG};
use serde_json::Value;
use tracing::{
    Dispatch, Event, Level, Metadata, Subscriber,
    field::{Field, Visit},
    span,
    subscriber::{DefaultGuard, Interest},
};

use crate::provider::lock;

/// One event.
#[derive(Clone, Debug)]
pub struct Record {
    /// Level.
    pub level: Level,
    /// Target.
    pub target: String,
    /// Message.
    pub message: String,
    /// Other fields in order. The fields of a plugin's record stand in place of the field `plugin_fields` of the host's event.
    pub fields: Vec<(String, Value)>,
}

/// Level, target, `message=…`, then ` name=value` for each field. Strings have no quotes.
impl fmt::Display for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} message={}", self.level, self.target, self.message)?;
        self.fields.iter().try_for_each(|(name, value)| write!(f, " {name}={}", plain(value)))
    }
}

impl Record {
    /// Removes the last field of this name and returns its value as text. A string has no quotes.
    pub fn take(&mut self, name: &str) -> Option<String> {
        let at = self.fields.iter().rposition(|(there, _)| *there == name)?;
        Some(plain(&self.fields.remove(at).1))
    }

    /// Returns message and fields as a log in text shows them. A string is in quotes if it is empty or has a blank, `"` or
    /// `=`.
    pub fn text(&self) -> String {
        let mut text = self.message.clone();
        for (name, value) in &self.fields {
            let value = plain(value);
            let quoted = value.contains([' ', '"', '=']) || value.is_empty();
            // Writing to a string does not fail.
            let _ = if quoted { write!(text, " {name}={value:?}") } else { write!(text, " {name}={value}") };
        }
        text
    }

    fn keep(&mut self, field: &Field, value: impl Into<Value>) {
        match (field.name(), value.into()) {
            ("message", message) => self.message = plain(&message),
            ("plugin_fields", Value::String(json)) if self.target == PLUGIN_LOG => {
                let fields = LogFields::parse(&json).expect("the host writes an object");
                self.fields.extend(fields.iter().map(|(name, json)| (name.to_owned(), parsed(json))));
            }
            (name, value) => self.fields.push((name.to_owned(), value)),
        }
    }
}

/// Returns the value that the host wrote as JSON.
fn parsed(json: &str) -> Value {
    serde_json::from_str(json).unwrap_or_else(|error| panic!("no JSON, {error}: {json}"))
}

/// Returns a value as text. A string has no quotes.
fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Number(number) if number.is_f64() => number.as_f64().unwrap_or_default().to_string(),
        value => value.to_string(),
    }
}

impl Visit for Record {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.keep(field, format!("{value:?}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.keep(field, value);
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.keep(field, value);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.keep(field, value);
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.keep(field, value);
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.keep(field, value);
    }
}

type Filter = dyn Fn(&Metadata<'_>) -> bool + Send + Sync;

struct Sink {
    filter: Box<Filter>,
    records: Mutex<Vec<Record>>,
}

thread_local! {
    /// Captures of this thread. The last one gets the events.
    static SINKS: RefCell<Vec<Arc<Sink>>> = const { RefCell::new(Vec::new()) };
}

/// Gets the events of threads without a capture of their own.
static EVERYWHERE: OnceLock<Arc<Sink>> = OnceLock::new();

/// The events of one thread, from the start of the capture until it is dropped.
pub struct Capture {
    sink: Arc<Sink>,
    /// Present if the process has a subscriber of another kind: then this capture has its own on this thread.
    _subscriber: Option<DefaultGuard>,
}

impl Drop for Capture {
    fn drop(&mut self) {
        leave(&self.sink);
    }
}

fn leave(sink: &Arc<Sink>) {
    let _ = SINKS.try_with(|sinks| {
        let mut sinks = sinks.borrow_mut();
        if let Some(at) = sinks.iter().rposition(|there| Arc::ptr_eq(there, sink)) {
            sinks.remove(at);
        }
    });
}

/// Installs the subscriber of the process. Returns false if the process has another subscriber.
fn install() -> bool {
    static INSTALLED: OnceLock<bool> = OnceLock::new();
    *INSTALLED.get_or_init(|| tracing::subscriber::set_global_default(Router).is_ok())
}

impl Capture {
    /// Starts a capture of the events of this thread that a filter accepts.
    pub fn start(filter: impl Fn(&Metadata<'_>) -> bool + Send + Sync + 'static) -> Self {
        let _subscriber = (!install()).then(|| tracing::dispatcher::set_default(&Dispatch::new(Router)));
        let sink = Arc::new(Sink { filter: Box::new(filter), records: Mutex::default() });
        SINKS.with_borrow_mut(|sinks| sinks.push(sink.clone()));
        Self { sink, _subscriber }
    }

    /// Starts a capture of everything that LLMux logs on this thread: targets that begin with `llmux`.
    pub fn llmux() -> Self {
        Self::start(|metadata| metadata.target().starts_with("llmux"))
    }

    /// Also captures the events of threads that have no capture, until the process ends. The first capture of a
    /// process that asks for them gets them.
    #[must_use]
    pub fn of_every_thread(self) -> Self {
        let _ = EVERYWHERE.set(self.sink.clone());
        self
    }

    /// Runs a future whose events go to this capture, whatever thread polls it.
    pub async fn within<T>(&self, future: impl Future<Output = T>) -> T {
        let mut future = pin!(future);
        poll_fn(|context| {
            SINKS.with_borrow_mut(|sinks| sinks.push(self.sink.clone()));
            let _entered = Entered(&self.sink);
            future.as_mut().poll(context)
        })
        .await
    }

    /// Returns all records so far.
    pub fn records(&self) -> Vec<Record> {
        self.records_after(0)
    }

    /// Returns the number of records so far.
    pub(crate) fn count(&self) -> usize {
        lock(&self.sink.records).len()
    }

    /// Returns the records behind this number of records.
    pub(crate) fn records_after(&self, count: usize) -> Vec<Record> {
        lock(&self.sink.records).get(count..).unwrap_or_default().to_vec()
    }

    /// Returns all records so far, as lines.
    pub fn lines(&self) -> Vec<String> {
        lock(&self.sink.records).iter().map(Record::to_string).collect()
    }

    /// Returns the lines that contain all of these parts.
    pub fn with(&self, parts: &[&str]) -> Vec<String> {
        self.lines().into_iter().filter(|line| parts.iter().all(|part| line.contains(part))).collect()
    }
}

/// Leaves the capture at the end of a poll, also after a panic.
struct Entered<'s>(&'s Arc<Sink>);

impl Drop for Entered<'_> {
    fn drop(&mut self) {
        leave(self.0);
    }
}

/// The subscriber of the process.
struct Router;

impl Router {
    /// Returns the capture of this thread. It is cloned, because a filter or a value may log, too.
    fn sink() -> Option<Arc<Sink>> {
        let own = SINKS.try_with(|sinks| sinks.borrow().last().cloned()).ok().flatten();
        own.or_else(|| EVERYWHERE.get().cloned())
    }
}

impl Subscriber for Router {
    fn register_callsite(&self, _: &'static Metadata<'static>) -> Interest {
        // Captures come and go.
        Interest::sometimes()
    }

    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        // `tracing::enabled!` asks with metadata that is neither an event nor a span.
        !metadata.is_span() && Self::sink().is_some_and(|sink| (sink.filter)(metadata))
    }

    fn event(&self, event: &Event<'_>) {
        let Some(sink) = Self::sink() else { return };
        let metadata = event.metadata();
        let (level, target) = (*metadata.level(), metadata.target().to_owned());
        let mut record = Record { level, target, message: String::new(), fields: Vec::new() };
        event.record(&mut record);
        lock(&sink.records).push(record);
    }

    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }
    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}
    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}
    fn enter(&self, _: &span::Id) {}
    fn exit(&self, _: &span::Id) {}
}
