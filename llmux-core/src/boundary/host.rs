//! The host table: services that a plugin cannot have from its own statics.
//!
//! One [`HostServices`] for each instance (and one for each image, for what it logs outside of any), counted
//! by whoever holds it, so that a plugin's clone stays valid however long it is kept.

use std::{
    fmt::Write,
    sync::{Arc, Mutex, OnceLock, PoisonError},
    time::Duration,
};

use abi_stable::{
    prefix_type::WithMetadata,
    sabi_types::RRef,
    std_types::{ROption, RSlice, RStr},
};
use async_ffi::{FfiFuture, FutureExt};
use bytes::Bytes;
use futures_util::StreamExt;
use http::HeaderMap;
use llmux_abi::raw::{
    host::{
        self as level, HostObject, HostTable, HostTableRef, HttpResponseObject, HttpResponseTable,
        HttpResponseTableRef, METRIC_COUNTER, METRIC_GAUGE, METRIC_HISTOGRAM, RawHost, RawHttpRequest,
        RawHttpResponse, RawMetric,
    },
    value::{self, RawField, RawValue},
};
use tokio::{runtime::Handle, task::JoinSet, time::Instant};

use crate::metrics::{MetricKind, Metrics, PluginMetric};

/// What all instances of a host share.
pub(crate) struct HostShared {
    pub(crate) runtime: Handle,
    pub(crate) http: reqwest::Client,
    pub(crate) metrics: Arc<Metrics>,
    /// Where `now` begins.
    pub(crate) epoch: Instant,
}

/// The most metrics of one instance.
const MAX_METRICS: usize = 64;
/// The largest body that a plugin's HTTP request may bring.
const MAX_HTTP_BODY: usize = 16 * 1024 * 1024;

/// The host, as one instance sees it.
pub(crate) struct HostServices {
    name: Arc<str>,
    shared: Arc<HostShared>,
    /// The tasks that run beside the requests; `None` once the instance goes away.
    tasks: Mutex<Option<JoinSet<()>>>,
    metrics: [OnceLock<PluginMetric>; MAX_METRICS],
}

impl HostServices {
    pub(crate) fn new(name: &str, shared: Arc<HostShared>) -> Arc<Self> {
        Arc::new(Self {
            name: name.into(),
            shared,
            tasks: Mutex::new(Some(JoinSet::new())),
            metrics: [const { OnceLock::new() }; MAX_METRICS],
        })
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// A handle for a plugin, valid while `self` is held, or longer if it is retained.
    pub(crate) fn raw(self: &Arc<Self>) -> RawHost {
        RawHost {
            object: Arc::as_ptr(self).cast::<HostObject>(),
            table: HostTableRef(Table::TABLE.as_prefix()),
        }
    }

    /// Refuses further tasks and metrics, aborts the tasks there are, and lets go of the instance's metrics. Does
    /// so once.
    pub(crate) fn close(&self) -> Option<JoinSet<()>> {
        let mut tasks = self.tasks.lock().unwrap_or_else(PoisonError::into_inner).take()?;
        for metric in self.metrics.iter().filter_map(OnceLock::get) {
            self.shared.metrics.unregister(metric);
        }
        tasks.abort_all();
        Some(tasks)
    }

    /// The same, and waits for the tasks to be gone.
    pub(crate) async fn stop_tasks(&self) {
        if let Some(mut tasks) = self.close() {
            while tasks.join_next().await.is_some() {}
        }
    }

    fn spawn(&self, future: FfiFuture<()>) -> bool {
        let mut tasks = self.tasks.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(tasks) = tasks.as_mut() else { return false };
        while tasks.try_join_next().is_some() {}
        tasks.spawn_on(future, &self.shared.runtime);
        true
    }

    fn register(&self, metric: &RawMetric<'_>) -> u64 {
        // Held to the end: what is registered is let go of by the `close` that comes after.
        let open = self.tasks.lock().unwrap_or_else(PoisonError::into_inner);
        if open.is_none() {
            return 0;
        }
        let kind = match metric.kind {
            METRIC_COUNTER => MetricKind::Counter,
            METRIC_GAUGE => MetricKind::Gauge,
            METRIC_HISTOGRAM => MetricKind::Histogram(metric.buckets.as_slice()),
            _ => return 0,
        };
        let labels: Vec<&str> = metric.labels.iter().map(|label| label.as_str()).collect();
        let registered = self.shared.metrics.register(
            &self.name,
            kind,
            metric.name.as_str(),
            metric.help.as_str(),
            &labels,
        );
        let mut registered = match registered {
            Ok(registered) => registered,
            Err(error) => {
                tracing::warn!(
                    instance = &*self.name,
                    metric = metric.name.as_str(),
                    "metric refused: {error}"
                );
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

    fn log(&self, level: u32, target: &str, message: &str, fields: &[RawField<'_>]) {
        let fields = Fields(fields);
        macro_rules! event {
            ($level:ident) => {
                tracing::event!(
                    target: "llmux::plugin",
                    tracing::Level::$level,
                    instance = &*self.name,
                    source = target,
                    "{message}{fields}"
                )
            };
        }
        match level {
            level::LEVEL_ERROR => event!(ERROR),
            level::LEVEL_WARN => event!(WARN),
            level::LEVEL_INFO => event!(INFO),
            level::LEVEL_DEBUG => event!(DEBUG),
            _ => event!(TRACE),
        }
    }
}

fn log_enabled(level: u32) -> bool {
    match level {
        level::LEVEL_ERROR => tracing::enabled!(target: "llmux::plugin", tracing::Level::ERROR),
        level::LEVEL_WARN => tracing::enabled!(target: "llmux::plugin", tracing::Level::WARN),
        level::LEVEL_INFO => tracing::enabled!(target: "llmux::plugin", tracing::Level::INFO),
        level::LEVEL_DEBUG => tracing::enabled!(target: "llmux::plugin", tracing::Level::DEBUG),
        _ => tracing::enabled!(target: "llmux::plugin", tracing::Level::TRACE),
    }
}

/// A record's fields, written as ` name=value` each: their names are the plugin's, so they cannot be fields
/// of the host's own event.
struct Fields<'a>(&'a [RawField<'a>]);

impl std::fmt::Display for Fields<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for RawField { name, value } in self.0 {
            write!(f, " {}=", name.as_str())?;
            let RawValue { kind, bits, text } = value;
            match *kind {
                value::VALUE_INTEGER => write!(f, "{}", *bits as i64)?,
                value::VALUE_FLOAT => write!(f, "{}", f64::from_bits(*bits))?,
                value::VALUE_BOOLEAN => write!(f, "{}", *bits != 0)?,
                // A line break in what a client chose would make a line of its own.
                value::VALUE_STRING if text.contains(ends_a_value) || text.is_empty() => {
                    write!(f, "{:?}", text.as_str())?;
                }
                _ => f.write_str(text.as_str())?,
            }
        }
        Ok(())
    }
}

/// Must a value with this character be quoted?
fn ends_a_value(character: char) -> bool {
    character.is_whitespace() || character.is_control() || matches!(character, '"' | '=')
}

/// What an HTTP request of a plugin's came to.
struct HttpResponse {
    /// 0 where no response came.
    status: u16,
    headers: HeaderMap,
    /// The body, or why no response came.
    body: Bytes,
}

async fn send(
    client: reqwest::Client,
    method: String,
    url: String,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
    timeout: Duration,
) -> Result<HttpResponse, String> {
    let method = method.parse::<http::Method>().map_err(|error| error.to_string())?;
    let mut request = client.request(method, url).timeout(timeout).body(body);
    for (name, value) in headers {
        request = request.header(name, value);
    }
    let text = |error: reqwest::Error| {
        // The URL may carry a credential.
        let error = error.without_url();
        let mut text = error.to_string();
        let mut source = std::error::Error::source(&error);
        while let Some(cause) = source {
            let _ = write!(text, ": {cause}");
            source = cause.source();
        }
        text
    };
    let response = request.send().await.map_err(text)?;
    let (status, headers) = (response.status().as_u16(), response.headers().clone());
    let mut collected = Vec::new();
    let mut chunks = response.bytes_stream();
    while let Some(chunk) = chunks.next().await {
        let chunk = chunk.map_err(text)?;
        if collected.len() + chunk.len() > MAX_HTTP_BODY {
            return Err(format!("the response is larger than {MAX_HTTP_BODY} bytes"));
        }
        collected.extend_from_slice(&chunk);
    }
    Ok(HttpResponse { status, headers, body: collected.into() })
}

struct Table;

impl Table {
    abi_stable::staticref! {
        const TABLE: WithMetadata<HostTable> = WithMetadata::new(HostTable {
            retain,
            release,
            log_enabled: log_enabled_raw,
            log,
            now,
            spawn,
            sleep,
            http,
            metric,
            record,
        });
        const RESPONSE: WithMetadata<HttpResponseTable> =
            WithMetadata::new(HttpResponseTable { status, header, body, drop: drop_response });
    }
}

fn host<'a>(object: *const HostObject) -> &'a HostServices {
    // SAFETY: objects of this table are `HostServices`, held by the caller for the length of the call.
    unsafe { &*object.cast::<HostServices>() }
}

unsafe extern "C" fn retain(object: *const HostObject) {
    // SAFETY: the object is the inside of an `Arc` (see `HostServices::raw`), held by the caller.
    unsafe { Arc::increment_strong_count(object.cast::<HostServices>()) }
}

unsafe extern "C" fn release(object: *const HostObject) {
    // SAFETY: the caller retained it once, and does not use it again.
    unsafe { Arc::decrement_strong_count(object.cast::<HostServices>()) }
}

unsafe extern "C" fn log_enabled_raw(_: *const HostObject, level: u32, _target: RStr<'_>) -> bool {
    log_enabled(level)
}

unsafe extern "C" fn log(
    object: *const HostObject,
    level: u32,
    target: RStr<'_>,
    message: RStr<'_>,
    fields: RSlice<'_, RawField<'_>>,
) {
    host(object).log(level, target.as_str(), message.as_str(), fields.as_slice());
}

unsafe extern "C" fn now(object: *const HostObject) -> u64 {
    host(object).shared.epoch.elapsed().as_nanos() as u64
}

unsafe extern "C" fn spawn(object: *const HostObject, future: FfiFuture<()>) -> bool {
    host(object).spawn(future)
}

unsafe extern "C" fn sleep(object: *const HostObject, millis: u64) -> FfiFuture<()> {
    // Whoever polls it may run on a thread of its own: the timer is made inside this runtime.
    let _runtime = host(object).shared.runtime.enter();
    tokio::time::sleep(Duration::from_millis(millis)).into_ffi()
}

unsafe extern "C" fn http(
    object: *const HostObject,
    request: &RawHttpRequest<'_>,
) -> FfiFuture<RawHttpResponse> {
    let shared = &host(object).shared;
    let headers = request.headers.iter().map(|header| (header.name.to_string(), header.value.to_string()));
    // In a task of its own, for the same reason.
    let sent = shared.runtime.spawn(send(
        shared.http.clone(),
        request.method.to_string(),
        request.url.to_string(),
        headers.collect(),
        request.body.to_vec(),
        Duration::from_millis(request.timeout),
    ));
    let sent = AbortOnDrop(sent);
    async move {
        let mut sent = sent;
        let response = match (&mut sent.0).await {
            Ok(Ok(response)) => response,
            Ok(Err(why)) => HttpResponse { status: 0, headers: HeaderMap::new(), body: why.into() },
            Err(error) => {
                HttpResponse { status: 0, headers: HeaderMap::new(), body: error.to_string().into() }
            }
        };
        let object = Box::into_raw(Box::new(response)).cast::<HttpResponseObject>();
        RawHttpResponse { object, table: HttpResponseTableRef(Table::RESPONSE.as_prefix()) }
    }
    .into_ffi()
}

struct AbortOnDrop<T>(tokio::task::JoinHandle<T>);

impl<T> Drop for AbortOnDrop<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}

unsafe extern "C" fn metric(object: *const HostObject, metric: &RawMetric<'_>) -> u64 {
    host(object).register(metric)
}

unsafe extern "C" fn record(object: *const HostObject, id: u64, labels: RSlice<'_, RStr<'_>>, value: f64) {
    let place = usize::try_from(id).ok().and_then(|id| host(object).metrics.get(id.wrapping_sub(1)));
    if let Some(metric) = place.and_then(OnceLock::get) {
        let labels = labels.as_slice();
        let mut texts = [""; 16];
        if labels.len() <= texts.len() {
            for (text, label) in texts.iter_mut().zip(labels) {
                *text = label.as_str();
            }
            metric.record(&texts[..labels.len()], value);
        }
    }
}

fn response<'a>(object: RRef<'a, HttpResponseObject>) -> &'a HttpResponse {
    // SAFETY: objects of this table are `HttpResponse`s, owned by the plugin until `drop`.
    unsafe { object.transmute_into_ref() }
}

unsafe extern "C" fn status(object: RRef<'_, HttpResponseObject>) -> u16 {
    response(object).status
}

unsafe extern "C" fn header<'a>(object: RRef<'a, HttpResponseObject>, name: RStr<'_>) -> ROption<RStr<'a>> {
    let value = response(object).headers.get(name.as_str());
    value.and_then(|value| value.to_str().ok()).map(RStr::from_str).into()
}

unsafe extern "C" fn body<'a>(object: RRef<'a, HttpResponseObject>) -> RSlice<'a, u8> {
    RSlice::from_slice(&response(object).body)
}

unsafe extern "C" fn drop_response(object: *mut HttpResponseObject) {
    // SAFETY: made by `Box::into_raw` in `http`; the plugin gives it back once.
    drop(unsafe { Box::from_raw(object.cast::<HttpResponse>()) });
}
