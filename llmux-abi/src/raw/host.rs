//! The host table: services that a plugin cannot have from its own statics.

use abi_stable::{
    StableAbi,
    sabi_types::RRef,
    std_types::{ROption, RSlice, RStr},
};
use async_ffi::FfiFuture;

use super::value::RawField;

/// Levels of a log record: `ERROR`.
pub const ERROR: u32 = 1;
/// `WARN`.
pub const WARN: u32 = 2;
/// `INFO`.
pub const INFO: u32 = 3;
/// `DEBUG`.
pub const DEBUG: u32 = 4;
/// `TRACE`, and any higher number.
pub const TRACE: u32 = 5;

/// Kinds of metric: only ever grows.
pub const COUNTER: u32 = 0;
/// Goes up and down; `record` sets it.
pub const GAUGE: u32 = 1;
/// Counts observations into buckets.
pub const HISTOGRAM: u32 = 2;

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
    pub retain: unsafe extern "C" fn(*const HostObject),
    /// One holder less.
    pub release: unsafe extern "C" fn(*const HostObject),
    /// Would a record of this level and target be written?
    pub log_enabled: unsafe extern "C" fn(*const HostObject, u32, RStr<'_>) -> bool,
    /// Writes a record: level, target, message, fields.
    pub log: unsafe extern "C" fn(*const HostObject, u32, RStr<'_>, RStr<'_>, RSlice<'_, RawField<'_>>),
    /// Nanoseconds on a clock that only goes forward. The host's clock, so that tests can hold it.
    #[sabi(last_prefix_field)]
    pub now: unsafe extern "C" fn(*const HostObject) -> u64,
    /// Runs a future beside the requests; `false` (and the future dropped) once the instance is going away.
    /// The host aborts it when the instance is unloaded.
    pub spawn: unsafe extern "C" fn(*const HostObject, FfiFuture<()>) -> bool,
    /// Is ready after so many milliseconds.
    pub sleep: unsafe extern "C" fn(*const HostObject, u64) -> FfiFuture<()>,
    /// Sends an HTTP request; the future copies what it needs of the request before this returns.
    pub http: unsafe extern "C" fn(*const HostObject, &RawHttpRequest<'_>) -> FfiFuture<RawHttpResponse>,
    /// Registers a metric and gives its id, or 0 where the host refuses (the log says why).
    pub metric: unsafe extern "C" fn(*const HostObject, &RawMetric<'_>) -> u64,
    /// Adds to a counter, sets a gauge, or observes in a histogram: id, label values, value.
    pub record: unsafe extern "C" fn(*const HostObject, u64, RSlice<'_, RStr<'_>>, f64),
}

/// What to register.
#[repr(C)]
#[derive(StableAbi)]
pub struct RawMetric<'a> {
    /// [`COUNTER`], [`GAUGE`] or [`HISTOGRAM`].
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
    pub status: unsafe extern "C" fn(RRef<'_, HttpResponseObject>) -> u16,
    /// A header by its name in any case.
    pub header: for<'a> unsafe extern "C" fn(RRef<'a, HttpResponseObject>, RStr<'_>) -> ROption<RStr<'a>>,
    /// The body, or why no response came.
    pub body: for<'a> unsafe extern "C" fn(RRef<'a, HttpResponseObject>) -> RSlice<'a, u8>,
    /// Frees the response.
    #[sabi(last_prefix_field)]
    pub drop: unsafe extern "C" fn(*mut HttpResponseObject),
}
