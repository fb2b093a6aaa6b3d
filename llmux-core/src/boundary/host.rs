//! The host table: services that a plugin cannot have from its own statics.
//!
//! There is one [`HostServices`] for each instance, and one for each image, for events outside of any instance. It is
//! reference-counted, so a plugin's clone stays valid for as long as the plugin keeps it.

use std::{
    future::poll_fn,
    path::Path,
    pin::pin,
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
    time::Duration,
};

use abi_stable::{
    prefix_type::WithMetadata,
    std_types::{RSlice, RStr},
};
use async_ffi::{FfiFuture, FutureExt};
use futures_util::{
    FutureExt as _,
    future::{Either, join_all, select},
};
use llmux_abi::{
    host::{guarded, guarded_or},
    raw::{
        host::{
            HostObject, HostTable, HostTableRef, METRIC_COUNTER, METRIC_GAUGE, METRIC_HISTOGRAM,
            MetricCallRef, RawHost, RawWork,
        },
        http::{HttpCallRef, RawHttpResponse},
        value::RawField,
        version::ABI_VERSION,
    },
};
use tokio::{runtime::Handle, task::JoinHandle, time::Instant};

use super::{
    crash::Running,
    http::{Request, raw, start},
    log,
    mirror::Mirror,
    paused::{self, Paused},
};
use crate::metrics::{MetricKind, Metrics, PluginMetric};

/// The services that all instances of a host share.
pub(crate) struct HostShared {
    pub(crate) runtime: Handle,
    /// Sends the HTTP requests of plugins; `None` in a child process.
    pub(crate) http: Option<reqwest::Client>,
    pub(crate) metrics: Arc<Metrics>,
    /// The zero of `now`.
    pub(crate) epoch: Instant,
    /// In a child process: the way of records, metrics and HTTP requests to the host.
    pub(crate) mirror: Option<Arc<dyn Mirror>>,
}

impl HostShared {
    /// Returns the clock of this process, if it is a child whose time is paused.
    fn paused(&self) -> Option<&Arc<Paused>> {
        self.mirror.as_deref()?.paused()
    }

    /// Returns a future that ends after this time. It is made inside the runtime.
    fn sleep(&self, time: Duration) -> Either<tokio::time::Sleep, paused::Sleep> {
        match self.paused() {
            None => Either::Left(tokio::time::sleep(time)),
            Some(paused) => Either::Right(paused.sleep(time)),
        }
    }
}

/// Largest number of metrics of one instance.
const MAX_METRICS: usize = 64;

/// The services of the host for one instance.
pub(crate) struct HostServices {
    name: Arc<str>,
    /// Folder of the library's file, as the system writes paths; empty if the plugin is compiled in.
    library_dir: Box<[u8]>,
    shared: Arc<HostShared>,
    /// The tasks that the instance spawned; `None` once the instance is unloaded.
    tasks: Mutex<Option<Vec<JoinHandle<()>>>>,
    metrics: [OnceLock<PluginMetric>; MAX_METRICS],
}

impl HostServices {
    /// Makes the services of an instance. `library` is the file of its library, if it has one.
    pub(crate) fn new(name: &str, library: Option<&Path>, shared: Arc<HostShared>) -> Arc<Self> {
        let library = library.and_then(|library| std::path::absolute(library).ok());
        let folder = library.as_deref().and_then(Path::parent).map(Path::as_os_str).unwrap_or_default();
        Arc::new(Self {
            name: name.into(),
            library_dir: folder.as_encoded_bytes().into(),
            shared,
            tasks: Mutex::new(Some(Vec::new())),
            metrics: [const { OnceLock::new() }; MAX_METRICS],
        })
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Makes a handle for a plugin. It is valid while `self` is held, or longer if the plugin retains it.
    pub(crate) fn raw(self: &Arc<Self>) -> RawHost {
        RawHost {
            object: Arc::as_ptr(self).cast::<HostObject>(),
            table: HostTableRef(Table::TABLE.as_prefix()),
        }
    }

    fn tasks(&self) -> MutexGuard<'_, Option<Vec<JoinHandle<()>>>> {
        self.tasks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Refuses further tasks and metrics, aborts the tasks, and unregisters the instance's metrics. Returns the tasks at
    /// the first call only.
    pub(crate) fn close(&self) -> Option<Vec<JoinHandle<()>>> {
        let tasks = self.tasks().take()?;
        for metric in self.metrics.iter().filter_map(OnceLock::get) {
            self.shared.metrics.unregister(metric);
        }
        tasks.iter().for_each(JoinHandle::abort);
        Some(tasks)
    }

    /// Closes the services and waits until the tasks have ended. A task that holds its thread has no end, so the caller
    /// bounds the wait.
    pub(crate) async fn stop_tasks(&self) {
        // An aborted task is not woken, so that its end is counted here.
        let _busy = self.shared.paused().map(Paused::busy);
        if let Some(tasks) = self.close() {
            join_all(tasks).await;
        }
    }

    /// Runs a future for at most this time. Returns `None` if it did not end.
    pub(crate) async fn timeout<T>(&self, limit: Duration, future: impl Future<Output = T>) -> Option<T> {
        match select(pin!(future), pin!(self.shared.sleep(limit))).await {
            Either::Left((value, _)) => Some(value),
            Either::Right(_) => None,
        }
    }

    /// Records a value of the metric of this number. Nothing happens if there is none.
    pub(crate) fn record(&self, id: u64, labels: &[&str], value: f64) {
        let place = usize::try_from(id).ok().and_then(|id| self.metrics.get(id.wrapping_sub(1)));
        if let Some(metric) = place.and_then(OnceLock::get) {
            metric.record(labels, value);
        }
    }

    /// Starts a task. The lock is never held while a future is dropped: a destructor is the plugin's code, and may call
    /// the host.
    fn spawn(&self, mut future: FfiFuture<()>) -> bool {
        if self.tasks().is_none() {
            return false;
        }
        let name = self.name.clone();
        let task = poll_fn(move |cx| {
            let _running = Running::mark(&name);
            future.poll_unpin(cx)
        });
        self.keep(paused::spawn(&self.shared.runtime, self.shared.paused(), task))
    }

    /// Runs work on a thread that may block.
    fn spawn_blocking(&self, work: Work) -> bool {
        if self.tasks().is_none() {
            return false;
        }
        let name = self.name.clone();
        let busy = self.shared.paused().map(Paused::busy);
        self.keep(self.shared.runtime.spawn_blocking(move || {
            let _busy = busy;
            let _running = Running::mark(&name);
            work.run();
        }))
    }

    /// Keeps a task that has started. Returns false, and aborts it, if the instance is unloaded.
    fn keep(&self, task: JoinHandle<()>) -> bool {
        let mut tasks = self.tasks();
        let Some(tasks) = tasks.as_mut() else {
            task.abort();
            return false;
        };
        if tasks.len() == tasks.capacity() {
            tasks.retain(|task| !task.is_finished());
        }
        tasks.push(task);
        true
    }

    fn register_call(&self, metric: MetricCallRef<'_>) -> u64 {
        let kind = match metric.kind() {
            METRIC_COUNTER => MetricKind::Counter,
            METRIC_GAUGE => MetricKind::Gauge,
            METRIC_HISTOGRAM => MetricKind::Histogram(metric.buckets().as_slice()),
            _ => return 0,
        };
        let (name, help, labels) = (metric.name(), metric.help(), metric.labels());
        let labels: Vec<&str> = labels.iter().map(|label| label.as_str()).collect();
        let id = self.register(&kind, name.as_str(), help.as_str(), &labels);
        if let Some(mirror) = self.shared.mirror.as_deref().filter(|_| id != 0) {
            mirror.register(id, &kind, name.as_str(), help.as_str(), &labels);
        }
        id
    }

    /// Registers a metric. Returns its number, from 1, or 0 if it is refused.
    pub(crate) fn register(&self, kind: &MetricKind<'_>, name: &str, help: &str, labels: &[&str]) -> u64 {
        // Held to the end, so that a later `close` sees the metric and unregisters it.
        let open = self.tasks();
        if open.is_none() {
            return 0;
        }
        let registered = self.shared.metrics.register(&self.name, kind, name, help, labels);
        let mut registered = match registered {
            Ok(registered) => registered,
            Err(error) => {
                tracing::warn!(instance = &*self.name, metric = name, "metric refused: {error}");
                return 0;
            }
        };
        for (at, place) in self.metrics.iter().enumerate() {
            match place.set(registered) {
                Ok(()) => return at as u64 + 1,
                Err(back) => registered = back,
            }
        }
        self.shared.metrics.unregister(&registered);
        tracing::warn!(instance = &*self.name, "metric refused: an instance has at most {MAX_METRICS}");
        0
    }
}

/// Work of a plugin, which is freed without being done if nobody runs it.
struct Work(RawWork);

// SAFETY: the contract lets the host run work, or free it, on any thread.
unsafe impl Send for Work {}

impl Work {
    fn run(self) {
        let this = std::mem::ManuallyDrop::new(self);
        // SAFETY: the work stands beside its table. `run` frees it, and `drop` is not called any more.
        unsafe { this.0.table.run()(this.0.object) }
    }
}

impl Drop for Work {
    fn drop(&mut self) {
        // SAFETY: the work stands beside its table, and nobody has run it.
        unsafe { self.0.table.drop()(self.0.object) }
    }
}

struct Table;

impl Table {
    abi_stable::staticref! {
        const TABLE: WithMetadata<HostTable> = WithMetadata::new(HostTable {
            retain,
            release,
            log_enabled,
            log: log_record,
            now,
            spawn,
            sleep,
            http,
            metric,
            record,
            spawn_blocking,
            abi_version,
            library_dir,
        });
    }
}

fn host<'a>(object: *const HostObject) -> &'a HostServices {
    // SAFETY: objects of this table are `HostServices`, held by the caller for the length of the call.
    unsafe { &*object.cast::<HostServices>() }
}

unsafe extern "C" fn retain(object: *const HostObject) {
    guarded((), || {
        // SAFETY: the object is the inside of an `Arc` (see `HostServices::raw`), held by the caller.
        unsafe { Arc::increment_strong_count(object.cast::<HostServices>()) }
    })
}

unsafe extern "C" fn release(object: *const HostObject) {
    guarded((), || {
        // SAFETY: the caller retained it once, and does not use it again.
        unsafe { Arc::decrement_strong_count(object.cast::<HostServices>()) }
    })
}

unsafe extern "C" fn log_enabled(object: *const HostObject, level: u32, _target: RStr<'_>) -> bool {
    guarded(false, || match &host(object).shared.mirror {
        Some(mirror) => mirror.takes(level),
        None => log::is_enabled(level),
    })
}

unsafe extern "C" fn log_record(
    object: *const HostObject,
    level: u32,
    target: RStr<'_>,
    message: RStr<'_>,
    fields: RSlice<'_, RawField<'_>>,
) {
    guarded((), || {
        let host = host(object);
        let mirror = host.shared.mirror.as_deref();
        log::write(&host.name, mirror, level, target, message, fields.as_slice());
    })
}

unsafe extern "C" fn now(object: *const HostObject) -> u64 {
    guarded(0, || {
        let shared = &host(object).shared;
        shared.paused().map_or_else(|| shared.epoch.elapsed().as_nanos() as u64, |paused| paused.now())
    })
}

unsafe extern "C" fn spawn(object: *const HostObject, future: FfiFuture<()>) -> bool {
    guarded(false, || host(object).spawn(future))
}

unsafe extern "C" fn sleep(object: *const HostObject, millis: u64) -> FfiFuture<()> {
    guarded_or(
        || std::future::ready(()).into_ffi(),
        || {
            // The plugin may poll the future on a thread of its own, so the timer is made inside the runtime.
            let _runtime = host(object).shared.runtime.enter();
            host(object).shared.sleep(Duration::from_millis(millis)).into_ffi()
        },
    )
}

unsafe extern "C" fn spawn_blocking(object: *const HostObject, work: RawWork) -> bool {
    guarded(false, || host(object).spawn_blocking(Work(work)))
}

unsafe extern "C" fn http(object: *const HostObject, call: HttpCallRef<'_>) -> FfiFuture<RawHttpResponse> {
    guarded_or(super::http::failed, || {
        let shared = &host(object).shared;
        match (&shared.http, &shared.mirror) {
            (Some(client), _) => raw(start(&shared.runtime, client.clone(), Request::of(call))),
            (None, Some(mirror)) => raw(mirror.http(Request::of(call))),
            (None, None) => super::http::failed(),
        }
    })
}

unsafe extern "C" fn abi_version(_: *const HostObject) -> RStr<'static> {
    guarded(RStr::empty(), || RStr::from_str(ABI_VERSION))
}

unsafe extern "C" fn metric(object: *const HostObject, call: MetricCallRef<'_>) -> u64 {
    guarded(0, || host(object).register_call(call))
}

unsafe extern "C" fn record(object: *const HostObject, id: u64, labels: RSlice<'_, RStr<'_>>, value: f64) {
    guarded((), || {
        let (host, labels) = (host(object), labels.as_slice());
        let mut texts = [""; 16];
        if labels.len() > texts.len() {
            return;
        }
        for (text, label) in texts.iter_mut().zip(labels) {
            *text = label.as_str();
        }
        let texts = &texts[..labels.len()];
        match &host.shared.mirror {
            Some(mirror) => mirror.record(id, texts, value),
            None => host.record(id, texts, value),
        }
    })
}

unsafe extern "C" fn library_dir(object: *const HostObject) -> RSlice<'static, u8> {
    guarded(RSlice::EMPTY, || RSlice::from_slice(&host(object).library_dir))
}
