//! Guards, which are instances that fail closed: the guards that a change would weaken, and required instances that do
//! not run.
//!
//! `apply` asks both before and after it publishes what `plan` leads to. Pure functions over lists; nothing is changed
//! here.

use std::{collections::BTreeSet, sync::Arc};

use super::{
    desired::{Desired, InstanceSettings, Running},
    instance::Instance,
};
use crate::plugins::{library::manifest::OnError, report::info::PluginInfo};

/// Effect that a change may have on instances that fail closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Guards {
    /// The change is refused if an instance that fails closed would be gone, disabled or set to `continue`.
    Keep,
    /// The change is made in any case.
    Weaken,
}

/// Returns each instance that fails closed before a change and not after it, with its state after the change.
pub(super) fn weakened(before: &[Running], after: &[Running]) -> Vec<(String, &'static str)> {
    let guards = before.iter().filter(|it| it.enabled && it.fails_closed);
    let weakened = guards.filter_map(|guard| {
        let state = match after.iter().find(|it| it.name == guard.name) {
            None => "removed",
            Some(it) if !it.enabled => "disabled",
            Some(it) if !it.fails_closed && !is_reload(guard, it) => "set to `continue`",
            Some(_) => return None,
        };
        Some((guard.name.clone(), state))
    });
    weakened.collect()
}

/// True if only the bytes of the library differ: their own manifest decides then.
fn is_reload(before: &Running, after: &Running) -> bool {
    let bytes = |it: &Running| it.library.as_ref().map(|library| library.sha256.clone());
    (before.id, before.origin, before.on_error) == (after.id, after.origin, after.on_error)
        && bytes(before) != bytes(after)
}

/// Returns the required instances that are not active. Required are the `named` ones, those of the configuration that
/// fail closed, and the refused files whose manifest says `fail`; each failed instance that fails closed is inactive. An
/// instance that the operator disabled does not count.
pub(super) fn inactive(
    named: &[String],
    desired: &Desired,
    running: &[Running],
    refused: &[PluginInfo],
) -> Vec<String> {
    let is_inactive = |name: &&String| {
        let runs = running.iter().any(|it| it.name == **name && !it.failed);
        let own = desired.configured(name).map(InstanceSettings::of);
        let own = own.and_then(|own| own.with(desired.overrides.get(*name)));
        !runs && own.is_none_or(|own| own.enabled)
    };
    let files = refused.iter().filter(|file| {
        desired.autoload
            && file.on_error == OnError::Fail
            && !running.iter().any(|it| it.plugin == file.plugin)
    });
    let failed = running.iter().filter(|it| it.failed && it.enabled && it.fails_closed).map(|it| &it.name);
    let instances = named.iter().chain(&desired.guards).filter(is_inactive).chain(failed);
    instances.chain(files.map(|file| &file.plugin)).cloned().collect::<BTreeSet<_>>().into_iter().collect()
}

/// Adds the instances whose child process is failed, and that fail closed or are required (rule I3).
pub(super) fn with_failed(
    inactive: Arc<Vec<String>>,
    instances: &[Instance],
    required: &[String],
) -> Arc<Vec<String>> {
    let is_failed = |instance: &&Instance| {
        let child = instance.process.as_ref().filter(|_| instance.enabled);
        child.is_some_and(|child| child.facts().state == "failed")
            && (instance.entry.fails_request || required.iter().any(|name| name == instance.name()))
    };
    let failed: BTreeSet<_> = instances.iter().filter(is_failed).map(|it| it.name().to_owned()).collect();
    match failed.is_empty() {
        true => inactive,
        false => Arc::new(
            failed.into_iter().chain(inactive.iter().cloned()).collect::<BTreeSet<_>>().into_iter().collect(),
        ),
    }
}
