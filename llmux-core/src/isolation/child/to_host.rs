//! The frames from the child to the host: replies, log records, metrics.
//!
//! A thread that has a frame writes it itself. Frames that come while another thread writes are written by that thread, in
//! one piece. A host that does not read stops the writers; beyond a bound, log records and metrics are dropped instead.

use std::{
    fs::File,
    io::Write,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use serde::Serialize;

use crate::{
    boundary::mirror::Mirror,
    isolation::{
        frame::{self, Kind},
        protocol as message,
    },
    metrics::MetricKind,
};

/// Bytes that may wait before log records and metrics are dropped.
const MAX_WAITING: usize = 1024 * 1024;
/// Longest text of a log record, in bytes.
const MAX_TEXT: usize = 64 * 1024;

/// The writing half of the socket.
pub(super) struct ToHost {
    socket: File,
    waiting: Mutex<Waiting>,
}

#[derive(Default)]
struct Waiting {
    bytes: Vec<u8>,
    is_writing: bool,
}

impl ToHost {
    pub(super) fn new(socket: File) -> Self {
        Self { socket, waiting: Mutex::default() }
    }

    /// Sends a reply. The messages of this function are small.
    pub(super) fn reply(&self, number: u64, message: &impl Serialize) {
        let mut waiting = self.waiting();
        if frame::write(&mut waiting.bytes, Kind::Reply, number, message).is_err() {
            frame::write_empty(&mut waiting.bytes, Kind::Reply, number);
        }
        self.flush(waiting);
    }

    /// Sends the confirmation of a cancelled call.
    pub(super) fn confirm(&self, number: u64) {
        let mut waiting = self.waiting();
        frame::write_empty(&mut waiting.bytes, Kind::Reply, number);
        self.flush(waiting);
    }

    /// Sends frames that are written already.
    pub(super) fn send(&self, frames: &[u8]) {
        let mut waiting = self.waiting();
        waiting.bytes.extend_from_slice(frames);
        self.flush(waiting);
    }

    /// Sends a message, unless the host reads too slowly. Returns false if it was dropped.
    fn offer(&self, kind: Kind, message: &impl Serialize) -> bool {
        let mut waiting = self.waiting();
        if waiting.bytes.len() > MAX_WAITING || frame::write(&mut waiting.bytes, kind, 0, message).is_err() {
            return false;
        }
        self.flush(waiting);
        true
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn flush<'w>(&'w self, mut waiting: MutexGuard<'w, Waiting>) {
        if std::mem::replace(&mut waiting.is_writing, true) {
            return;
        }
        while !waiting.bytes.is_empty() {
            let bytes = std::mem::take(&mut waiting.bytes);
            drop(waiting);
            // If the host is gone, the reader ends the process.
            let _ = (&self.socket).write_all(&bytes);
            waiting = self.waiting();
        }
        waiting.is_writing = false;
    }
}

/// The log records and metrics of the plugin, on their way to the host.
pub(super) struct Forward {
    to_host: Arc<ToHost>,
    /// The highest level that the host takes.
    level: u32,
    /// Number of records that were dropped since the last one that was sent.
    dropped: AtomicU64,
}

impl Forward {
    pub(super) fn new(to_host: Arc<ToHost>, level: u32) -> Self {
        Self { to_host, level, dropped: AtomicU64::new(0) }
    }
}

fn short(text: &str) -> &str {
    &text[..text.floor_char_boundary(MAX_TEXT)]
}

impl Mirror for Forward {
    fn takes(&self, level: u32) -> bool {
        level <= self.level
    }

    fn log(&self, level: u32, source: &str, message: &str, fields: Option<&str>) {
        if !self.takes(level) {
            return;
        }
        let fields = fields.filter(|fields| fields.len() <= MAX_TEXT);
        let (source, message) = (short(source), short(message));
        let dropped = self.dropped.swap(0, Relaxed);
        let noted = (dropped > 0).then(|| format!("{message} ({dropped} records before it were dropped)"));
        let message = noted.as_deref().unwrap_or(message);
        if !self.to_host.offer(Kind::Log, &message::Log { level, source, message, fields }) {
            self.dropped.fetch_add(dropped + 1, Relaxed);
        }
    }

    fn register(&self, id: u64, kind: &MetricKind<'_>, name: &str, help: &str, labels: &[&str]) {
        let kind = match kind {
            MetricKind::Counter => message::MetricKind::Counter,
            MetricKind::Gauge => message::MetricKind::Gauge,
            MetricKind::Histogram(buckets) => message::MetricKind::Histogram(buckets.to_vec()),
        };
        let (name, help, labels) = (short(name), short(help), labels.to_vec());
        self.to_host.offer(Kind::Metric, &message::Metric { id, kind, name, help, labels });
    }

    fn record(&self, id: u64, labels: &[&str], value: f64) {
        self.to_host.offer(Kind::Record, &message::Record { id, labels: labels.to_vec(), value });
    }
}
