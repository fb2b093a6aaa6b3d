//! The services of the host that leave the child process: log records, metrics, HTTP requests.
//!
//! `boundary::host` calls it for the plugin. If the host reads too slowly, log records and metrics are dropped.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering::Relaxed},
};

use futures_util::future::BoxFuture;

use super::{fetches::Fetches, to_host::ToHost};
use crate::{
    boundary::{
        http::{HttpResponse, Request},
        mirror::Mirror,
        paused::Paused,
    },
    isolation::{frame::Kind, protocol as message},
    metrics::MetricKind,
};

/// Longest text of a log record, in bytes.
const MAX_TEXT: usize = 64 * 1024;

/// The services of the plugin, on their way to the host.
pub(super) struct Forward {
    to_host: Arc<ToHost>,
    fetches: Arc<Fetches>,
    /// The highest level that the host takes.
    level: u32,
    /// Number of records that were dropped since the last one that was sent.
    dropped: AtomicU64,
}

impl Forward {
    pub(super) fn new(to_host: Arc<ToHost>, fetches: Arc<Fetches>, level: u32) -> Self {
        Self { to_host, fetches, level, dropped: AtomicU64::new(0) }
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
    fn http(&self, request: Request) -> BoxFuture<'static, HttpResponse> {
        self.fetches.clone().start(&request)
    }

    fn paused(&self) -> Option<&Arc<Paused>> {
        self.to_host.paused()
    }
}
