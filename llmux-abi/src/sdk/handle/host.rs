//! The host, counted, and the place that log events go to.

use abi_stable::std_types::{RSlice, RStr};

use crate::{
    raw::{
        host::{RawHost, RawHttpRequest, RawHttpResponse, RawMetric},
        value::{self, RawField, RawValue},
    },
    sdk::context::Value,
};

/// A counted reference to the host.
pub(crate) struct HostHandle {
    raw: RawHost,
}

// SAFETY: the contract lets every function of the host table be called from any thread.
unsafe impl Send for HostHandle {}
// SAFETY: as for `Send`.
unsafe impl Sync for HostHandle {}

impl Clone for HostHandle {
    fn clone(&self) -> Self {
        Self::retain(self.raw)
    }
}

impl Drop for HostHandle {
    fn drop(&mut self) {
        // SAFETY: this handle retained the host once, in `retain`.
        unsafe { self.raw.table.release()(self.raw.object) }
    }
}

impl HostHandle {
    /// Keeps a host that a call was lent.
    pub(crate) fn retain(raw: RawHost) -> Self {
        // SAFETY: the host lent this handle for the length of the call under way, or another `HostHandle`
        // retains it.
        unsafe { raw.table.retain()(raw.object) };
        Self { raw }
    }

    pub(crate) fn raw(&self) -> RawHost {
        self.raw
    }

    pub(crate) fn now(&self) -> u64 {
        // SAFETY: retained.
        unsafe { self.raw.table.now()(self.raw.object) }
    }

    /// Hands a future to the host; `None` where the host has no such service.
    pub(crate) fn spawn(&self, future: async_ffi::FfiFuture<()>) -> Option<bool> {
        // SAFETY: retained.
        self.raw.table.spawn().map(|spawn| unsafe { spawn(self.raw.object, future) })
    }

    pub(crate) fn sleep(&self, millis: u64) -> Option<async_ffi::FfiFuture<()>> {
        // SAFETY: retained.
        self.raw.table.sleep().map(|sleep| unsafe { sleep(self.raw.object, millis) })
    }

    pub(crate) fn http(&self, request: &RawHttpRequest<'_>) -> Option<async_ffi::FfiFuture<RawHttpResponse>> {
        // SAFETY: retained.
        self.raw.table.http().map(|http| unsafe { http(self.raw.object, request) })
    }

    pub(crate) fn metric(&self, metric: &RawMetric<'_>) -> Option<u64> {
        // SAFETY: retained.
        self.raw.table.metric().map(|register| unsafe { register(self.raw.object, metric) })
    }

    pub(crate) fn record(&self, id: u64, labels: &[RStr<'_>], value: f64) {
        if let Some(record) = self.raw.table.record() {
            // SAFETY: retained.
            unsafe { record(self.raw.object, id, RSlice::from_slice(labels), value) }
        }
    }

    /// The host of a raw handle that somebody retains, for logging.
    pub(crate) fn log_enabled(raw: &LogTarget, level: u32, target: &str) -> bool {
        // SAFETY: a `LogTarget` exists only while its host is retained.
        unsafe { raw.0.table.log_enabled()(raw.0.object, level, target.into()) }
    }

    pub(crate) fn log(raw: &LogTarget, level: u32, target: &str, message: &str, fields: &[(&str, Value)]) {
        let texts: Vec<String> = fields
            .iter()
            .map(|(_, value)| if let Value::Json(json) = value { json.to_string() } else { String::new() })
            .collect();
        let raws: Vec<RawField<'_>> = fields
            .iter()
            .zip(&texts)
            .map(|((name, value), json)| {
                let (kind, bits, text) = match value {
                    Value::String(text) => (value::VALUE_STRING, 0, text.as_str()),
                    Value::Integer(integer) => (value::VALUE_INTEGER, *integer as u64, ""),
                    Value::Float(float) => (value::VALUE_FLOAT, float.to_bits(), ""),
                    Value::Boolean(boolean) => (value::VALUE_BOOLEAN, u64::from(*boolean), ""),
                    Value::Json(_) => (value::VALUE_JSON, 0, json.as_str()),
                };
                RawField { name: (*name).into(), value: RawValue { kind, bits, text: text.into() } }
            })
            .collect();
        // SAFETY: a `LogTarget` exists only while its host is retained.
        unsafe {
            raw.0.table.log()(raw.0.object, level, target.into(), message.into(), RSlice::from_slice(&raws))
        }
    }
}

/// The host that log events of this thread go to, without a count of its own: copied from a [`HostHandle`]
/// that outlives its use (`tracing::enter` borrows it; the library's own is never dropped).
#[derive(Clone, Copy)]
pub(crate) struct LogTarget(RawHost);

// SAFETY: the contract lets the host's functions be called from any thread.
unsafe impl Send for LogTarget {}
// SAFETY: as for `Send`.
unsafe impl Sync for LogTarget {}

impl LogTarget {
    /// # Safety
    ///
    /// The handle outlives every use of the target.
    pub(crate) unsafe fn of(host: &HostHandle) -> Self {
        Self(host.raw())
    }
}
