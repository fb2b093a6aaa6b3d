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
    /// Other fields as text, in order. Strings have no quotes.
    pub fields: Vec<(&'static str, String)>,
}

/// Level, target, `message=…`, then ` name=value` for each field.
impl fmt::Display for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} message={}", self.level, self.target, self.message)?;
        self.fields.iter().try_for_each(|(name, value)| write!(f, " {name}={value}"))
    }
}

impl Record {
    /// Removes a field and returns its value.
    pub fn take(&mut self, name: &str) -> Option<String> {
        let at = self.fields.iter().position(|(there, _)| *there == name)?;
        Some(self.fields.remove(at).1)
    }

    /// Returns message and fields as a host writes them for a plugin that is loaded from a library.
    pub fn text(&self) -> String {
        let mut text = self.message.clone();
        for (name, value) in &self.fields {
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
        lock(&self.sink.records).clone()
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
