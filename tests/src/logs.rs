//! What the host logs on this thread, for tests that say what an operator reads.

use std::{
    cell::RefCell,
    fmt::{self, Write},
    sync::{Arc, Mutex, Once, PoisonError},
};

use tracing::{
    Event, Metadata, Subscriber,
    field::{Field, Visit},
    span,
};

/// The lines of the log so far: level, target, fields.
#[derive(Clone, Default)]
pub struct Logs(Arc<Mutex<Vec<String>>>);

thread_local! {
    static CURRENT: RefCell<Option<Logs>> = const { RefCell::new(None) };
}

/// Collects until it is dropped.
pub struct Collecting(());

impl Drop for Collecting {
    fn drop(&mut self) {
        CURRENT.set(None);
    }
}

impl Logs {
    /// Collects what this thread logs, until the guard is dropped.
    pub fn collect() -> (Self, Collecting) {
        static INSTALLED: Once = Once::new();
        // One subscriber for the process: with one for each thread, a callsite that a thread without one reaches
        // first may stay disabled for all.
        INSTALLED.call_once(|| {
            tracing::subscriber::set_global_default(Router).expect("no test sets another subscriber");
        });
        let logs = Self::default();
        CURRENT.set(Some(logs.clone()));
        (logs, Collecting(()))
    }

    /// All lines so far.
    pub fn lines(&self) -> Vec<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The lines that contain all of these.
    pub fn with(&self, parts: &[&str]) -> Vec<String> {
        self.lines().into_iter().filter(|line| parts.iter().all(|part| line.contains(part))).collect()
    }
}

/// Gives each event to the logs of the thread it happens on.
struct Router;

impl Subscriber for Router {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        // `tracing::enabled!` asks with metadata that is neither an event nor a span.
        !metadata.is_span() && metadata.target().starts_with("llmux")
    }

    fn event(&self, event: &Event<'_>) {
        let Some(logs) = CURRENT.with_borrow(Clone::clone) else { return };
        let mut line = Line(format!("{} {}", event.metadata().level(), event.metadata().target()));
        event.record(&mut line);
        logs.0.lock().unwrap_or_else(PoisonError::into_inner).push(line.0);
    }

    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }
    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}
    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}
    fn enter(&self, _: &span::Id) {}
    fn exit(&self, _: &span::Id) {}
}

struct Line(String);

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        // Writing to a string does not fail.
        let _ = write!(self.0, " {}={value:?}", field.name());
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        let _ = write!(self.0, " {}={value}", field.name());
    }
}
