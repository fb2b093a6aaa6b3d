//! The host's services: timers, tasks, HTTP and metrics. A plugin cannot provide them itself, since a library has its
//! own copy of every static and so of every runtime.
//!
//! Deliberately absent: logging. `tracing`'s macros work in every plugin, and the host receives their events.

use std::{future::Future, path::Path, sync::Arc, time::Duration};

use abi_stable::std_types::{RSlice, RStr};
use async_ffi::FutureExt;

use super::{
    contain::guarded_task,
    error::{Error, Result},
    handle::HostHandle,
    http::{self, HttpError, HttpRequest, HttpResponse, HttpStream},
    task::Task,
    work,
};
use crate::raw::host::{METRIC_COUNTER, METRIC_GAUGE, METRIC_HISTOGRAM, MetricCall};

/// The host's services for one instance. Cheap to clone, usable from any thread, valid for as long as a clone exists.
///
/// ```
/// # use std::time::Duration;
/// # use llmux_abi::prelude::*;
/// async fn ask(host: &Host, url: &str) -> Result<Vec<String>> {
///     let response = host.http(HttpRequest::get(url).with_timeout(Duration::from_secs(2))).await?;
///     if !response.is_success() {
///         return Err(Error::new(format!("{url} answered {}", response.status())));
///     }
///     response.json()
/// }
/// ```
#[derive(Clone)]
pub struct Host {
    handle: HostHandle,
    name: Arc<str>,
}

impl Host {
    pub(crate) fn new(handle: HostHandle, name: &str) -> Self {
        Self { handle, name: name.into() }
    }

    pub(crate) fn handle(&self) -> &HostHandle {
        &self.handle
    }

    /// Returns the instance's name, as the operator set it.
    pub fn instance(&self) -> &str {
        &self.name
    }

    /// Returns the folder of the file that the plugin's library was loaded from, for files that lie beside it. `None` if the
    /// plugin is compiled into the host, or if the host does not know the folder.
    ///
    /// The library itself runs from a private copy in another folder, so that `dladdr` and `/proc/self/maps` do not name
    /// this one.
    pub fn library_dir(&self) -> Option<&Path> {
        let folder = self.handle.library_dir()?;
        #[cfg(unix)]
        let folder = <std::ffi::OsStr as std::os::unix::ffi::OsStrExt>::from_bytes(folder);
        #[cfg(not(unix))]
        let folder = str::from_utf8(folder).ok()?;
        Some(Path::new(folder))
    }

    /// Returns the time on the host's monotonic clock, since a moment before the instance was made. Tests can stop this
    /// clock.
    pub fn now(&self) -> Duration {
        Duration::from_nanos(self.handle.now())
    }

    /// Waits for at least this duration, rounded up to whole milliseconds. `tokio::time::sleep` would panic in a
    /// library, whose copy of tokio has no runtime.
    pub async fn sleep(&self, duration: Duration) {
        let millis = duration.as_nanos().div_ceil(1_000_000).try_into().unwrap_or(u64::MAX);
        if let Some(sleep) = self.handle.sleep(millis) {
            sleep.await;
        }
    }

    /// Returns the version of the contract that the host speaks, as semver.
    pub fn abi_version(&self) -> &str {
        // A host without this function speaks the first version that has hosts.
        self.handle.abi_version().unwrap_or("0.2.0")
    }

    /// Runs a future as a task, until it is ready, aborted, or the instance is unloaded. A panic in the future is logged and
    /// ends only this task. The host does not bound the number of tasks. Dropping the handle does not end the task.
    ///
    /// # Errors
    ///
    /// If the instance is being unloaded, or the host has no tasks for plugins.
    pub fn spawn<T: Send + 'static>(
        &self,
        future: impl Future<Output = T> + Send + 'static,
    ) -> Result<Task<T>> {
        let (task, future) = Task::of(future);
        match self.handle.spawn(guarded_task(self.handle.clone(), future).into_ffi()) {
            Some(true) => Ok(task),
            Some(false) => Err(unloading()),
            None => Err(Error::unsupported("tasks for plugins")),
        }
    }

    /// Runs a function on a thread that may block, as [`spawn`](Self::spawn) runs a future. An unload of the instance waits
    /// for a function that has begun, for a bounded time. An aborted task that has not begun does not run.
    ///
    /// ```
    /// # use llmux_abi::prelude::*;
    /// async fn read(host: &Host, path: std::path::PathBuf) -> Result<String> {
    ///     Ok(host.spawn_blocking(move || std::fs::read_to_string(path))?.await??)
    /// }
    /// ```
    ///
    /// # Errors
    ///
    /// If the instance is being unloaded, or the host has no such threads for plugins.
    pub fn spawn_blocking<T: Send + 'static>(
        &self,
        run: impl FnOnce() -> T + Send + 'static,
    ) -> Result<Task<T>> {
        let (task, run) = Task::blocking(run);
        match self.handle.spawn_blocking(work::raw(self.handle.clone(), Box::new(run))) {
            Some(true) => Ok(task),
            Some(false) => Err(unloading()),
            None => Err(Error::unsupported("threads that may block")),
        }
    }

    /// Sends an HTTP request through the host's client, and waits for the whole response. Dropping the future aborts
    /// the request.
    ///
    /// # Errors
    ///
    /// If no whole response came; the error has the kind of failure. A response of any status is `Ok`. The host follows
    /// no redirect: a 3xx is a response, and its `location` header names the place.
    pub async fn http(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        http::send(&self.handle, request).await
    }

    /// Sends an HTTP request through the host's client, and waits for the head of the response. The body follows in pieces.
    /// Dropping the future or the response aborts the request.
    ///
    /// ```
    /// # use llmux_abi::prelude::*;
    /// async fn count(host: &Host, url: &str) -> Result<usize> {
    ///     let mut stream = host.http_stream(HttpRequest::get(url)).await?;
    ///     let mut bytes = 0;
    ///     while let Some(piece) = stream.next().await? {
    ///         bytes += piece.len();
    ///     }
    ///     Ok(bytes)
    /// }
    /// ```
    ///
    /// # Errors
    ///
    /// As [`http`](Self::http), for the head.
    pub async fn http_stream(&self, request: HttpRequest) -> Result<HttpStream, HttpError> {
        http::stream(&self.handle, request).await
    }

    /// Registers a counter, a metric that only grows. The name follows Prometheus' rules, as `myplugin_blocked_total`.
    /// The host's `/metrics` shows the counter until the instance is unloaded, and adds the label `plugin`.
    ///
    /// A label keeps 1000 values of at most 256 bytes each, and a metric keeps 10 000 series. The host replaces all other
    /// values by `other`.
    ///
    /// # Errors
    ///
    /// If the name is not valid, belongs to the host or to a metric of another kind, the metric has more than 8 labels,
    /// or the instance has 64 metrics already.
    pub fn counter(&self, name: &str, help: &str, labels: &[&str]) -> Result<Counter> {
        Ok(Counter(self.register(METRIC_COUNTER, name, help, labels, &[])?))
    }

    /// Registers a gauge, a metric that can rise and fall.
    ///
    /// # Errors
    ///
    /// As [`counter`](Self::counter).
    pub fn gauge(&self, name: &str, help: &str, labels: &[&str]) -> Result<Gauge> {
        Ok(Gauge(self.register(METRIC_GAUGE, name, help, labels, &[])?))
    }

    /// Registers a histogram with the upper bounds of its buckets. If `buckets` is empty, the host's default applies.
    ///
    /// # Errors
    ///
    /// As [`counter`](Self::counter).
    pub fn histogram(&self, name: &str, help: &str, labels: &[&str], buckets: &[f64]) -> Result<Histogram> {
        Ok(Histogram(self.register(METRIC_HISTOGRAM, name, help, labels, buckets)?))
    }

    fn register(
        &self,
        kind: u32,
        name: &str,
        help: &str,
        labels: &[&str],
        buckets: &[f64],
    ) -> Result<Metric> {
        if labels.len() > MAX_LABELS {
            return Err(Error::new(format!("the metric `{name}` has more than {MAX_LABELS} labels")));
        }
        let mut raw_labels = [RStr::empty(); MAX_LABELS];
        let id = self.handle.metric(MetricCall {
            kind,
            name: name.into(),
            help: help.into(),
            labels: raw(labels, &mut raw_labels),
            buckets: RSlice::from_slice(buckets),
        });
        match id {
            None => Err(Error::unsupported("metrics of plugins")),
            Some(0) => {
                Err(Error::new(format!("the host refused the metric `{name}`; its log states the reason")))
            }
            Some(id) => Ok(Metric { host: self.clone(), id, labels: labels.len() }),
        }
    }
}

fn unloading() -> Error {
    Error::new("the instance is being unloaded")
}

/// Maximum number of labels of a metric.
const MAX_LABELS: usize = 8;

fn raw<'s, 't>(texts: &[&'t str], space: &'s mut [RStr<'t>; MAX_LABELS]) -> RSlice<'s, RStr<'t>> {
    let texts = &texts[..texts.len().min(MAX_LABELS)];
    for (place, text) in space.iter_mut().zip(texts) {
        *place = (*text).into();
    }
    RSlice::from_slice(&space[..texts.len()])
}

#[derive(Clone)]
struct Metric {
    host: Host,
    id: u64,
    labels: usize,
}

impl Metric {
    fn record(&self, labels: &[&str], value: f64) {
        debug_assert_eq!(labels.len(), self.labels, "a value for each label of the metric");
        let mut space = [RStr::empty(); MAX_LABELS];
        self.host.handle.record(self.id, raw(labels, &mut space).as_slice(), value);
    }
}

/// A metric that only grows.
#[derive(Clone)]
pub struct Counter(Metric);

impl Counter {
    /// Adds a value. The label values are in the order of the label names.
    pub fn add(&self, labels: &[&str], value: f64) {
        self.0.record(labels, value);
    }

    /// Adds one. The label values are in the order of the label names.
    pub fn increment(&self, labels: &[&str]) {
        self.0.record(labels, 1.0);
    }
}

/// A metric that can rise and fall.
#[derive(Clone)]
pub struct Gauge(Metric);

impl Gauge {
    /// Sets the value. The label values are in the order of the label names.
    pub fn set(&self, labels: &[&str], value: f64) {
        self.0.record(labels, value);
    }
}

/// A metric that counts observations into buckets.
#[derive(Clone)]
pub struct Histogram(Metric);

impl Histogram {
    /// Observes a value. The label values are in the order of the label names.
    pub fn observe(&self, labels: &[&str], value: f64) {
        self.0.record(labels, value);
    }
}
