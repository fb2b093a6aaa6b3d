//! A counted reference to the host.

use abi_stable::std_types::{RSlice, RStr};

use crate::raw::host::{RawHost, RawHttpRequest, RawHttpResponse, RawMetric};

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
    /// Retains a host that was lent to a call.
    pub(crate) fn retain(raw: RawHost) -> Self {
        // SAFETY: the host lent this handle for the length of the call under way, or another `HostHandle`
        // retains it.
        unsafe { raw.table.retain()(raw.object) };
        Self { raw }
    }

    pub(super) fn raw(&self) -> RawHost {
        self.raw
    }

    pub(crate) fn now(&self) -> u64 {
        // SAFETY: retained.
        unsafe { self.raw.table.now()(self.raw.object) }
    }

    /// Passes a future to the host. `None` if the host does not have this service.
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

    pub(crate) fn library_dir(&self) -> Option<&[u8]> {
        let library_dir = self.raw.table.library_dir()?;
        // SAFETY: retained, for longer than the returned bytes are borrowed.
        let folder = unsafe { library_dir(self.raw.object) }.as_slice();
        (!folder.is_empty()).then_some(folder)
    }
}
