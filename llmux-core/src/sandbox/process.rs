//! Rights and limits of the process itself: threads, capabilities, rlimits.
//!
//! `sandbox` calls it. Deliberately absent: unsafe code; `rustix` makes the calls.

use std::fs;

use rustix::{
    io::Result,
    process::{Resource, Rlimit, getrlimit, setrlimit},
    thread::{CapabilitySet, CapabilitySets, set_capabilities},
};

use super::policy::Policy;

/// Returns an error if the process has more than one thread. Without `/proc`, the number is unknown and counts as one.
pub(super) fn has_one_thread() -> std::result::Result<(), String> {
    match fs::read_dir("/proc/self/task").map_or(1, Iterator::count) {
        0 | 1 => Ok(()),
        count => Err(format!("the process has {count} threads")),
    }
}

/// Gives up every capability of this thread. It gets none back, because no program that it runs gets new privileges.
pub(super) fn drop_capabilities() -> Result<()> {
    let none = CapabilitySet::empty();
    set_capabilities(None, CapabilitySets { effective: none, permitted: none, inheritable: none })
}

/// Sets the limits of a policy, and refuses memory dumps.
pub(super) fn limit(policy: &Policy) -> Result<()> {
    let limits =
        [(Resource::Core, Some(0)), (Resource::Data, policy.memory), (Resource::Nofile, policy.files)];
    for (resource, limit) in limits {
        let Some(limit) = limit else { continue };
        // A process cannot raise its own hard limit.
        let limit = getrlimit(resource).maximum.map_or(limit, |most| most.min(limit));
        setrlimit(resource, Rlimit { current: Some(limit), maximum: Some(limit) })?;
    }
    Ok(())
}
