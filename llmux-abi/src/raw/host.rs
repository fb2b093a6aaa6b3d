//! The host table: services that a plugin cannot have from its own statics.

use abi_stable::{
    StableAbi,
    sabi_types::RRef,
    std_types::{ROption, RSlice, RStr},
};
use async_ffi::FfiFuture;

use super::value::RawField;

/// Levels of a log record: `ERROR`.
pub const LEVEL_ERROR: u32 = 1;
/// `WARN`.
pub const LEVEL_WARN: u32 = 2;
/// `INFO`.
pub const LEVEL_INFO: u32 = 3;
/// `DEBUG`.
pub const LEVEL_DEBUG: u32 = 4;
/// `TRACE`, and any higher number.
pub const LEVEL_TRACE: u32 = 5;

/// Kinds of metric: only ever grows.
pub const METRIC_COUNTER: u32 = 0;
/// Goes up and down; `record` sets it.
pub const METRIC_GAUGE: u32 = 1;
/// Counts observations into buckets.
pub const METRIC_HISTOGRAM: u32 = 2;

/// The host, as seen by one instance (or, in `attach`, by one library).
#[repr(C)]
#[derive(StableAbi)]
pub struct HostObject {
    opaque: [u8; 0],
}

/// A counted handle on the host. Who keeps a copy calls `retain` for it and, once, `release`.
#[repr(C)]
#[derive(StableAbi, Clone, Copy)]
pub struct RawHost {
    /// The host.
    pub object: *const HostObject,
    /// What can be done with it.
    pub table: HostTableRef,
}

/// Functions of the host. All may be called from any thread at any time while the handle is retained.
#[repr(C)]
#[derive(StableAbi)]
#[sabi(kind(Prefix(prefix_ref = HostTableRef)))]
#[sabi(missing_field(option))]
pub struct HostTable {
    /// One more holder.
    pub retain: unsafe extern "C" fn(object: *const HostObject),
    /// One holder less.
    pub release: unsafe extern "C" fn(object: *const HostObject),
    /// Would a record of this level and target be written?
    pub log_enabled: unsafe extern "C" fn(object: *const HostObject, level: u32, target: RStr<'_>) -> bool,
    /// Writes a record: level, target, message, fields.
    pub log: unsafe extern "C" fn(
        object: *const HostObject,
        level: u32,
        target: RStr<'_>,
        message: RStr<'_>,
        fields: RSlice<'_, RawField<'_>>,
    ),
    /// Nanoseconds on a clock that only goes forward. The host's clock, so that tests can hold it.
    #[sabi(last_prefix_field)]
    pub now: unsafe extern "C" fn(object: *const HostObject) -> u64,
    /// Runs a future beside the requests; `false` (and the future dropped) once the instance is going away.
    /// The host aborts it when the instance is unloaded.
    pub spawn: unsafe extern "C" fn(object: *const HostObject, future: FfiFuture<()>) -> bool,
    /// Is ready after so many milliseconds.
    pub sleep: unsafe extern "C" fn(object: *const HostObject, millis: u64) -> FfiFuture<()>,
    /// Sends an HTTP request; the future copies what it needs of the request before this returns.
    pub http: unsafe extern "C" fn(
        object: *const HostObject,
        request: &RawHttpRequest<'_>,
    ) -> FfiFuture<RawHttpResponse>,
    /// Registers a metric and gives its id, or 0 where the host refuses (the log says why).
    pub metric: unsafe extern "C" fn(object: *const HostObject, metric: &RawMetric<'_>) -> u64,
    /// Adds to a counter, sets a gauge, or observes in a histogram: id, label values, value.
    pub record: unsafe extern "C" fn(
        object: *const HostObject,
        metric: u64,
        labels: RSlice<'_, RStr<'_>>,
        value: f64,
    ),
}

/// What to register.
#[repr(C)]
#[derive(StableAbi)]
pub struct RawMetric<'a> {
    /// [`METRIC_COUNTER`], [`METRIC_GAUGE`] or [`METRIC_HISTOGRAM`].
    pub kind: u32,
    /// Its name, in Prometheus' characters.
    pub name: RStr<'a>,
    /// What it counts, one line.
    pub help: RStr<'a>,
    /// The names of its labels.
    pub labels: RSlice<'a, RStr<'a>>,
    /// The upper bounds of a histogram's buckets; empty for the host's default.
    pub buckets: RSlice<'a, f64>,
}

/// A header.
#[repr(C)]
#[derive(StableAbi, Clone, Copy)]
pub struct RawHeader<'a> {
    /// Its name.
    pub name: RStr<'a>,
    /// Its value.
    pub value: RStr<'a>,
}

/// What to send.
#[repr(C)]
#[derive(StableAbi)]
pub struct RawHttpRequest<'a> {
    /// The method, as `POST`.
    pub method: RStr<'a>,
    /// The whole URL, `http` or `https`.
    pub url: RStr<'a>,
    /// The headers.
    pub headers: RSlice<'a, RawHeader<'a>>,
    /// The body.
    pub body: RSlice<'a, u8>,
    /// The time limit for the whole exchange, in milliseconds.
    pub timeout: u64,
}

/// A response inside the host.
#[repr(C)]
#[derive(StableAbi)]
pub struct HttpResponseObject {
    opaque: [u8; 0],
}

/// A handle on a response. Host memory; the plugin owns the handle and gives it back once, through `drop`.
#[repr(C)]
#[derive(StableAbi)]
pub struct RawHttpResponse {
    /// The response.
    pub object: *mut HttpResponseObject,
    /// What can be asked of it.
    pub table: HttpResponseTableRef,
}

/// Functions of a response, implemented by the host.
#[repr(C)]
#[derive(StableAbi)]
#[sabi(kind(Prefix(prefix_ref = HttpResponseTableRef)))]
#[sabi(missing_field(option))]
pub struct HttpResponseTable {
    /// The status, or 0 where no response came.
    pub status: unsafe extern "C" fn(object: RRef<'_, HttpResponseObject>) -> u16,
    /// A header by its name in any case.
    pub header: for<'a> unsafe extern "C" fn(
        object: RRef<'a, HttpResponseObject>,
        name: RStr<'_>,
    ) -> ROption<RStr<'a>>,
    /// The body, or why no response came.
    pub body: for<'a> unsafe extern "C" fn(object: RRef<'a, HttpResponseObject>) -> RSlice<'a, u8>,
    /// Frees the response.
    #[sabi(last_prefix_field)]
    pub drop: unsafe extern "C" fn(object: *mut HttpResponseObject),
}
