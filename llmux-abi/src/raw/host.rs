//! The host table: services that a plugin cannot have from its own statics.
//!
//! The host implements the table. A plugin may call every function at any time and on any thread while it retains the
//! handle. Functions from `spawn` on may be absent: the host then does not offer the service.

use abi_stable::{
    StableAbi,
    std_types::{RSlice, RStr},
};
use async_ffi::FfiFuture;

use super::{
    http::{HttpCallRef, RawHttpResponse},
    value::RawField,
};

/// Level of a log record: `ERROR`.
pub const LEVEL_ERROR: u32 = 1;
/// Level of a log record: `WARN`.
pub const LEVEL_WARN: u32 = 2;
/// Level of a log record: `INFO`.
pub const LEVEL_INFO: u32 = 3;
/// Level of a log record: `DEBUG`.
pub const LEVEL_DEBUG: u32 = 4;
/// Level of a log record: `TRACE`. The host treats every higher number as this one.
pub const LEVEL_TRACE: u32 = 5;

/// Kind of metric: a counter, which only grows.
pub const METRIC_COUNTER: u32 = 0;
/// Kind of metric: a gauge, which `record` sets.
pub const METRIC_GAUGE: u32 = 1;
/// Kind of metric: a histogram, which counts observations into buckets.
pub const METRIC_HISTOGRAM: u32 = 2;

/// The host, as seen by one instance (or, in `attach`, by one library).
#[repr(C)]
#[derive(StableAbi)]
pub struct HostObject {
    opaque: [u8; 0],
}

/// A counted handle on the host. A plugin that keeps a copy calls `retain` for it, and `release` once.
#[repr(C)]
#[derive(StableAbi, Clone, Copy)]
pub struct RawHost {
    /// The host.
    pub object: *const HostObject,
    /// The functions that take this object.
    pub table: HostTableRef,
}

/// Functions of the host. Callable on any thread, at any time while the handle is retained.
#[repr(C)]
#[derive(StableAbi)]
#[sabi(kind(Prefix(prefix_ref = HostTableRef)))]
#[sabi(missing_field(option))]
pub struct HostTable {
    /// Adds one to the count of holders.
    pub retain: unsafe extern "C" fn(object: *const HostObject),
    /// Takes one from the count of holders. The handle must not be used afterwards.
    pub release: unsafe extern "C" fn(object: *const HostObject),
    /// Returns true if the host would write a record of this level and target.
    pub log_enabled: unsafe extern "C" fn(object: *const HostObject, level: u32, target: RStr<'_>) -> bool,
    /// Writes a log record. The host copies the texts.
    pub log: unsafe extern "C" fn(
        object: *const HostObject,
        level: u32,
        target: RStr<'_>,
        message: RStr<'_>,
        fields: RSlice<'_, RawField<'_>>,
    ),
    /// Returns the host's monotonic time, in nanoseconds. Tests can hold this clock.
    #[sabi(last_prefix_field)]
    pub now: unsafe extern "C" fn(object: *const HostObject) -> u64,
    /// Runs a future as a task of the instance. The host owns the future, polls it on any of its threads, and aborts it
    /// when the instance is unloaded. Returns false, and drops the future, if the instance is being unloaded.
    pub spawn: unsafe extern "C" fn(object: *const HostObject, future: FfiFuture<()>) -> bool,
    /// Returns a future that is ready after this many milliseconds. The plugin owns the future.
    pub sleep: unsafe extern "C" fn(object: *const HostObject, millis: u64) -> FfiFuture<()>,
    /// Sends an HTTP request. The host copies the request before the call returns. The plugin owns the future and the
    /// response; dropping the future aborts the request.
    pub http:
        unsafe extern "C" fn(object: *const HostObject, call: HttpCallRef<'_>) -> FfiFuture<RawHttpResponse>,
    /// Registers a metric and returns its id. Returns 0 if the host refuses the metric; its log states the reason.
    pub metric: unsafe extern "C" fn(object: *const HostObject, call: MetricCallRef<'_>) -> u64,
    /// Records a value: adds to a counter, sets a gauge, or observes in a histogram. `labels` holds the label values in
    /// the order of the label names.
    pub record: unsafe extern "C" fn(
        object: *const HostObject,
        metric: u64,
        labels: RSlice<'_, RStr<'_>>,
        value: f64,
    ),
    /// Runs work of the instance on a thread that may block. The unload of the instance waits for work that has begun,
    /// within its bound. Returns false, and drops the work, if the instance is being unloaded.
    pub spawn_blocking: unsafe extern "C" fn(object: *const HostObject, work: RawWork) -> bool,
    /// Returns the version of the contract that the host speaks, as semver. The text is valid while the handle is retained.
    pub abi_version: unsafe extern "C" fn(object: *const HostObject) -> RStr<'static>,
    /// Returns the folder of the file that the plugin's library was loaded from, as the system writes paths; empty if the
    /// plugin is compiled in. The host owns the bytes, which stay for as long as the handle is retained.
    pub library_dir: unsafe extern "C" fn(object: *const HostObject) -> RSlice<'static, u8>,
}

/// Parameters of [`HostTable::metric`].
#[repr(C)]
#[derive(StableAbi)]
#[sabi(kind(Prefix(prefix_ref = MetricCallRef)))]
#[sabi(missing_field(option))]
pub struct MetricCall<'a> {
    /// [`METRIC_COUNTER`], [`METRIC_GAUGE`] or [`METRIC_HISTOGRAM`].
    pub kind: u32,
    /// The metric's name, in the characters that Prometheus allows.
    pub name: RStr<'a>,
    /// The help text, one line.
    pub help: RStr<'a>,
    /// The names of the labels.
    pub labels: RSlice<'a, RStr<'a>>,
    /// The upper bounds of a histogram's buckets; empty selects the host's default.
    #[sabi(last_prefix_field)]
    pub buckets: RSlice<'a, f64>,
}

/// Work inside a plugin.
#[repr(C)]
#[derive(StableAbi)]
pub struct WorkObject {
    opaque: [u8; 0],
}

/// Work that a plugin gives to the host. Plugin memory; the host owns the handle and calls one of the two functions of its
/// table, once.
#[repr(C)]
#[derive(StableAbi)]
pub struct RawWork {
    /// The work.
    pub object: *mut WorkObject,
    /// The functions that take this object.
    pub table: WorkTableRef,
}

/// Functions of work, implemented by the plugin.
#[repr(C)]
#[derive(StableAbi)]
#[sabi(kind(Prefix(prefix_ref = WorkTableRef)))]
#[sabi(missing_field(option))]
pub struct WorkTable {
    /// Does the work and frees it, on a thread that may block.
    pub run: unsafe extern "C" fn(object: *mut WorkObject),
    /// Frees the work without doing it, on any thread.
    #[sabi(last_prefix_field)]
    pub drop: unsafe extern "C" fn(object: *mut WorkObject),
}
