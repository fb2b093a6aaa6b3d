//! A counted reference to the host.

use abi_stable::std_types::{RSlice, RStr};

use crate::{
    raw::{
        host::{MetricCall, MetricCallRef, RawHost, RawWork},
        http::{HttpCall, HttpCallRef, RawHttpResponse},
    },
    sdk::parameters::Parameters,
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

    /// Passes work to the host. `None` if the host does not have this service; the work is then freed.
    pub(crate) fn spawn_blocking(&self, work: RawWork) -> Option<bool> {
        match self.raw.table.spawn_blocking() {
            // SAFETY: retained.
            Some(spawn_blocking) => Some(unsafe { spawn_blocking(self.raw.object, work) }),
            None => {
                // SAFETY: the work stands beside its table, and is used no more.
                unsafe { work.table.drop()(work.object) };
                None
            }
        }
    }

    pub(crate) fn http(&self, call: HttpCall<'_>) -> Option<async_ffi::FfiFuture<RawHttpResponse>> {
        let (http, call) = (self.raw.table.http()?, Parameters::new(call));
        // SAFETY: retained, and the table of parameters outlives the call.
        Some(unsafe { http(self.raw.object, HttpCallRef(call.lend())) })
    }

    pub(crate) fn metric(&self, call: MetricCall<'_>) -> Option<u64> {
        let (register, call) = (self.raw.table.metric()?, Parameters::new(call));
        // SAFETY: retained, and the table of parameters outlives the call.
        Some(unsafe { register(self.raw.object, MetricCallRef(call.lend())) })
    }

    pub(crate) fn abi_version(&self) -> Option<&str> {
        // SAFETY: retained for as long as `self` is borrowed.
        self.raw.table.abi_version().map(|version| unsafe { version(self.raw.object) }.as_str())
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
