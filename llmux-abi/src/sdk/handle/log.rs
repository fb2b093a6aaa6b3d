//! The host that receives the log events of a thread.
//!
//! [`scope`] sets the host while an instance's code runs. Outside of any instance, events go to the host that this
//! image keeps ([`keep`]). Called by `contain`, the shim and `tracing`. Deliberately absent: the choice of events.

use std::{cell::Cell, sync::OnceLock};

use abi_stable::std_types::RSlice;

use super::host::HostHandle;
use crate::raw::{host::RawHost, value::RawField};

/// A host that is not counted: copied from a [`HostHandle`] that outlives its use.
#[derive(Clone, Copy)]
struct LogTarget(RawHost);

// SAFETY: the contract lets the host's functions be called from any thread.
unsafe impl Send for LogTarget {}
// SAFETY: as for `Send`.
unsafe impl Sync for LogTarget {}

thread_local! {
    // Has no destructor, since a thread may outlive all uses of this library.
    static CURRENT: Cell<Option<LogTarget>> = const { Cell::new(None) };
}

/// The first host that this image received, for events outside of any instance. Never dropped.
static IMAGE: OnceLock<HostHandle> = OnceLock::new();

/// Runs an instance's code. Until it returns, events on this thread belong to that instance.
#[inline]
pub(crate) fn scope<R>(host: &HostHandle, run: impl FnOnce() -> R) -> R {
    struct Restore<'c>(&'c Cell<Option<LogTarget>>, Option<LogTarget>);
    impl Drop for Restore<'_> {
        fn drop(&mut self) {
            self.0.set(self.1);
        }
    }
    // In a library, each access of a thread's value is a call: there is one for both changes.
    CURRENT.with(|current| {
        // The host is borrowed for as long as the target is set.
        let _restore = Restore(current, current.replace(Some(LogTarget(host.raw()))));
        run()
    })
}

/// Keeps a host for events outside of any instance. If this image keeps one already, does nothing and returns false.
pub(crate) fn keep(host: HostHandle) -> bool {
    IMAGE.set(host).is_ok()
}

fn target() -> Option<LogTarget> {
    CURRENT.get().or_else(|| IMAGE.get().map(|host| LogTarget(host.raw())))
}

/// Returns true if the host would write a record of this level and target.
pub(crate) fn enabled(level: u32, name: &str) -> bool {
    target().is_some_and(|LogTarget(host)| {
        // SAFETY: a target is set only while its host is retained.
        unsafe { host.table.log_enabled()(host.object, level, name.into()) }
    })
}

/// Passes a record to the host.
pub(crate) fn forward(level: u32, name: &str, message: &str, fields: &[RawField<'_>]) {
    let Some(LogTarget(host)) = target() else { return };
    // SAFETY: a target is set only while its host is retained.
    unsafe { host.table.log()(host.object, level, name.into(), message.into(), RSlice::from_slice(fields)) }
}
