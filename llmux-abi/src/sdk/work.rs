//! Work of a plugin that the host runs on a thread that may block.
//!
//! # Soundness
//!
//! An object of the table is a `Box<Work>`. The host passes its pointer to one of the two functions, once.

#![allow(unsafe_code)]

use abi_stable::prefix_type::WithMetadata;

use super::{
    contain::guarded,
    handle::{HostHandle, log::scope},
};
use crate::raw::host::{RawWork, WorkObject, WorkTable, WorkTableRef};

/// A function, and the host that runs it.
struct Work {
    host: HostHandle,
    run: Box<dyn FnOnce() + Send>,
}

struct Table;

impl Table {
    abi_stable::staticref! {
        const WORK: WithMetadata<WorkTable> = WithMetadata::new(WorkTable { run, drop: drop_work });
    }
}

/// Makes a handle on a function. The host owns it.
pub(super) fn raw(host: HostHandle, run: Box<dyn FnOnce() + Send>) -> RawWork {
    let object = Box::into_raw(Box::new(Work { host, run })).cast::<WorkObject>();
    RawWork { object, table: WorkTableRef(Table::WORK.as_prefix()) }
}

unsafe extern "C" fn run(object: *mut WorkObject) {
    guarded((), || {
        // SAFETY: made by `Box::into_raw` in `raw`; the host passes it to one of the two functions, once.
        let Work { host, run } = *unsafe { Box::from_raw(object.cast::<Work>()) };
        scope(&host, run);
    });
}

unsafe extern "C" fn drop_work(object: *mut WorkObject) {
    guarded((), || {
        // SAFETY: as in `run`.
        let Work { host, run } = *unsafe { Box::from_raw(object.cast::<Work>()) };
        scope(&host, || drop(run));
    });
}
