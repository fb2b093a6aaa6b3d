//! The services of the host for a child: its log records and its metrics. All of it is checked, because a child may send
//! anything.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use tokio::runtime::Handle;

use crate::{
    boundary::{host::HostServices, log},
    isolation::protocol::{self as message, decode},
    metrics::MetricKind,
};

/// The services of one child. Its metrics end with it.
pub(super) struct Services {
    host: Arc<HostServices>,
    runtime: Handle,
    /// The numbers of the metrics, by those of the child. The host's services bound how many there are.
    metrics: Mutex<HashMap<u64, u64>>,
}

const MALFORMED: &str = "sent a malformed message";

impl Services {
    pub(super) fn new(host: Arc<HostServices>, runtime: Handle) -> Self {
        Self { host, runtime, metrics: Mutex::default() }
    }

    pub(super) fn log(&self, bytes: &[u8]) -> Result<(), &'static str> {
        let message: message::Log<'_> = decode(bytes).map_err(|_| MALFORMED)?;
        log::forwarded(self.host.name(), message.level, message.source, message.message, message.fields);
        Ok(())
    }

    pub(super) fn register(&self, bytes: &[u8]) -> Result<(), &'static str> {
        let message: message::Metric<'_> = decode(bytes).map_err(|_| MALFORMED)?;
        let kind = match &message.kind {
            message::MetricKind::Counter => MetricKind::Counter,
            message::MetricKind::Gauge => MetricKind::Gauge,
            message::MetricKind::Histogram(buckets) => MetricKind::Histogram(buckets),
        };
        let id = self.host.register(&kind, message.name, message.help, &message.labels);
        if id != 0 {
            self.metrics.lock().unwrap_or_else(PoisonError::into_inner).insert(message.id, id);
        }
        Ok(())
    }

    pub(super) fn record(&self, bytes: &[u8]) -> Result<(), &'static str> {
        let message: message::Record<'_> = decode(bytes).map_err(|_| MALFORMED)?;
        let id = self.metrics.lock().unwrap_or_else(PoisonError::into_inner).get(&message.id).copied();
        if let Some(id) = id {
            self.host.record(id, &message.labels, message.value);
        }
        Ok(())
    }

    /// Runs a task of the host's own.
    pub(super) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.runtime.spawn(task);
    }

    pub(super) fn close(&self) {
        self.host.close();
    }
}
