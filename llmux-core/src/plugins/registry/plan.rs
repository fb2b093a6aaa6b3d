//! The plan: the changes that lead from what runs to what is desired. A pure function; `apply` makes its changes.
//!
//! Start, reload of the configuration, look at the folders and changes by operators all come here. Deliberately absent:
//! loading, and every check that needs a file's code.

use std::{collections::BTreeSet, sync::Arc};

use super::{
    change::Change,
    desired::{Bytes, Desired, InstanceSettings, Look, Override, Presence, Running},
    refusals::Refusals,
    sandbox_change::SandboxChange,
    setting::Setting,
    spec::{PluginSource, PluginSpec, no_config},
};
use crate::plugins::{
    library::inspect::InspectedLibrary,
    report::{
        error::PluginError,
        info::Origin,
        undone::{Undone, UndoneChange},
    },
};

/// The changes to make, in their order.
#[derive(Default)]
pub(super) struct Plan {
    /// All of them are made, or none: first the instances that leave, then those that change, then those that come.
    pub(super) changes: Vec<Change>,
    /// Changes that follow from files in the folders. Each is made or refused by itself.
    pub(super) attempts: Vec<Attempt>,
    /// Files that are refused before they are loaded.
    pub(super) refused: Vec<RefusedFile>,
    /// Files that hold the bytes that run: nothing is wrong with them any more.
    pub(super) sound: Vec<Arc<InspectedLibrary>>,
    /// Changes of operators that this plan reverts.
    pub(super) undone: Vec<Undone>,
}

/// A change that follows from one file.
pub(super) struct Attempt {
    pub(super) file: Arc<InspectedLibrary>,
    pub(super) change: Change,
    /// An instance that leaves when the change is made: its file is gone, and this file holds its plugin.
    pub(super) replaces: Option<String>,
    /// The change of an operator that it reverts.
    pub(super) undoes: Option<Undone>,
}

/// A file that is refused before it is loaded.
pub(super) struct RefusedFile {
    pub(super) file: Arc<InspectedLibrary>,
    pub(super) why: String,
    /// An instance that runs an earlier version of the library.
    pub(super) user: Option<String>,
}

/// Returns the changes that lead from the running instances, and the desired state that they were made by, to another
/// desired state.
pub(super) fn plan(running: &[Running], before: &Desired, desired: &Desired, refusals: &Refusals) -> Plan {
    let mut plan = Plan { undone: undone(running, before, desired), ..Plan::default() };
    let mut stays = Vec::new();
    let mut updates = Vec::new();
    for instance in running {
        match target(instance, desired) {
            None => plan.changes.push(Change::Unload(instance.name.clone())),
            Some(target) => {
                stays.push(instance);
                updates.extend(update(instance, target, desired.remade.contains(&instance.name)));
            }
        }
    }
    let mut reloaded = BTreeSet::new();
    for instance in stays.iter().filter(|it| desired.anew.contains(&it.name)) {
        if reloaded.insert(instance.path()) {
            plan.changes.push(Change::Reload(instance.name.clone()));
        }
    }
    plan.changes.extend(updates);
    let comes: Vec<_> = desired.specs.iter().filter_map(|spec| comes(spec, running, desired)).collect();
    if let Some(look) = &desired.look {
        for file in &look.files {
            match stays.iter().find(|it| it.path() == Some(&file.path)) {
                Some(user) => changed(&mut plan, file, user, look, refusals),
                None if desired.autoload => {
                    autoload(&mut plan, file, (&stays, &comes), before, desired, refusals)
                }
                None => {}
            }
        }
    }
    for spec in comes {
        let disabled = spec.name.clone().filter(|_| !spec.enabled);
        plan.changes.push(Change::Load(spec.with_enabled(true)));
        plan.changes.extend(disabled.map(Change::Disable));
    }
    plan
}

/// Returns the settings that a running instance should have; `None` if it should not run.
fn target(instance: &Running, desired: &Desired) -> Option<InstanceSettings> {
    let own = match instance.origin {
        Origin::Folder => keeps_autoloaded(instance, desired).then(InstanceSettings::default)?,
        _ => {
            let spec = desired.specs.iter().find(|spec| spec.id == instance.id)?;
            if gives_way(spec, desired) {
                return None;
            }
            if spec.origin != Origin::Config {
                return Some(InstanceSettings::of(spec));
            }
            InstanceSettings::of(spec)
        }
    };
    own.with(desired.overrides.get(&instance.name))
}

/// True if a spec of an operator has the name of an instance that the configuration names, and that should be enabled.
fn gives_way(spec: &PluginSpec, desired: &Desired) -> bool {
    let is_wanted = |name: &str| {
        let own = desired.configured(name).map(InstanceSettings::of);
        own.and_then(|own| own.with(desired.overrides.get(name))).is_some_and(|target| target.enabled)
    };
    spec.origin == Origin::Operator && spec.name.as_deref().is_some_and(is_wanted)
}

/// True if an autoloaded instance stays (rules D6, D8).
fn keeps_autoloaded(instance: &Running, desired: &Desired) -> bool {
    let Some(library) = &instance.library else { return false };
    desired.autoload
        && (!library.missing || instance.fails_closed)
        && !desired.displaces(instance)
        && library.path.parent().is_some_and(|folder| desired.dirs.iter().any(|dir| dir == folder))
}

/// Returns the changes of a running instance's settings.
fn update(instance: &Running, target: InstanceSettings, remade: bool) -> Vec<Change> {
    let name = || instance.name.clone();
    let config = target.config.unwrap_or_else(no_config);
    let (priority, on_error) = (instance.priority == target.priority, instance.on_error == target.on_error);
    let same_config = instance.config == config && !remade;
    let mut changes = Vec::new();
    if (instance.isolation, &instance.sandbox) != (target.isolation, &target.sandbox) {
        changes.push(Change::Isolate {
            name: name(),
            isolation: Setting::of(target.isolation),
            sandbox: SandboxChange::to(&target.sandbox),
        });
    }
    if !(priority && on_error && same_config) {
        let set = |same: bool| if same { Setting::Keep } else { Setting::Set(()) };
        changes.push(Change::Update {
            name: name(),
            priority: if set(priority).is_keep() { Setting::Keep } else { Setting::of(target.priority) },
            on_error: if set(on_error).is_keep() { Setting::Keep } else { Setting::of(target.on_error) },
            config: if same_config { Setting::Keep } else { Setting::Set(config) },
        });
    }
    match (instance.enabled, target.enabled) {
        (true, false) => changes.push(Change::Disable(name())),
        (false, true) => changes.push(Change::Enable(name())),
        _ => {}
    }
    changes
}

/// Returns the instance to make of a spec that no running instance was made from. One that the configuration disables is
/// not made; one that an operator loads and disables in one batch is made and disabled.
fn comes(spec: &PluginSpec, running: &[Running], desired: &Desired) -> Option<PluginSpec> {
    let runs = running.iter().any(|it| it.id == spec.id && it.origin != Origin::Folder);
    if runs || gives_way(spec, desired) {
        return None;
    }
    let change = match (spec.origin, &spec.name) {
        (Origin::Config, Some(name)) => desired.overrides.get(name),
        _ => None,
    };
    let InstanceSettings { enabled, priority, on_error, config, isolation, sandbox } =
        InstanceSettings::of(spec).with(change)?;
    let by_operator =
        spec.origin != Origin::Config || change.is_some_and(|it| it.presence == Some(Presence::Disabled));
    let settled = PluginSpec { enabled, priority, on_error, config, isolation, sandbox, ..spec.clone() };
    (enabled || by_operator).then_some(settled)
}

/// A file that running instances use: it may hold other bytes now.
fn changed(plan: &mut Plan, file: &Arc<InspectedLibrary>, user: &Running, look: &Look, refusals: &Refusals) {
    if look.bytes == Bytes::AsLoaded {
        return;
    }
    let runs = user.library.as_ref().map(|library| library.sha256.as_str());
    match file.accepted() {
        Err(error) => plan.refused.push(RefusedFile {
            file: file.clone(),
            why: error.to_string(),
            user: Some(user.name.clone()),
        }),
        Ok(_) if file.sha256.as_deref() == runs => plan.sound.push(file.clone()),
        Ok(_) if refusals.would_fail_again(file) => {}
        Ok(_) => plan.attempts.push(Attempt {
            file: file.clone(),
            change: Change::Reload(user.name.clone()),
            replaces: None,
            undoes: None,
        }),
    }
}

/// A file that no instance uses: it may get one (rule D8).
fn autoload(
    plan: &mut Plan,
    file: &Arc<InspectedLibrary>,
    (stays, comes): (&[&Running], &[PluginSpec]),
    before: &Desired,
    desired: &Desired,
    refusals: &Refusals,
) {
    let files = desired.look.as_ref().map(|look| look.files.as_slice()).unwrap_or_default();
    if desired.names_library(file) {
        return;
    }
    let refused = |why: String| RefusedFile { file: file.clone(), why, user: None };
    let manifest = match file.accepted() {
        Ok(manifest) => manifest,
        Err(error) => return plan.refused.push(refused(error.to_string())),
    };
    if let Some(error) = ambiguous(files.iter().map(Arc::as_ref), &manifest.name) {
        return plan.refused.push(refused(error.to_string()));
    }
    let is_used = comes.iter().any(|spec| match &spec.source {
        PluginSource::Path(path) => *path == file.path,
        PluginSource::Plugin(plugin) => *plugin == manifest.name,
        _ => false,
    });
    let left = before.kept_out.get(&file.path);
    if is_used || (left.is_some() && left == file.sha256.as_ref()) || refusals.would_fail_again(file) {
        return;
    }
    let orphan =
        stays.iter().find(|it| it.origin == Origin::Folder && it.is_missing() && it.plugin == manifest.name);
    let mut spec = PluginSpec::path(&file.path).with_name(&manifest.name);
    spec.origin = Origin::Folder;
    plan.attempts.push(Attempt {
        file: file.clone(),
        change: Change::Load(spec),
        replaces: orphan.map(|it| it.name.clone()),
        undoes: left.map(|_| Undone::new(&manifest.name, UndoneChange::Unloaded)),
    });
}

/// Returns the error of two libraries of one name, if there are two.
pub(super) fn ambiguous<'f>(
    files: impl Iterator<Item = &'f InspectedLibrary>,
    name: &str,
) -> Option<PluginError> {
    let mut named = files.filter(|file| file.accepted().is_ok_and(|manifest| manifest.name == name));
    let (first, second) = (named.next()?, named.next()?);
    Some(PluginError::AmbiguousPlugin {
        plugin: name.to_owned(),
        first: first.path.clone(),
        second: second.path.clone(),
    })
}

/// Returns the changes of operators that the desired state no longer has.
fn undone(running: &[Running], before: &Desired, desired: &Desired) -> Vec<Undone> {
    let mut undone = Vec::new();
    for (name, change) in &before.overrides {
        let Some(spec) = desired.configured(name) else { continue };
        let kept = desired.overrides.get(name);
        if let Some(presence) = change.presence.filter(|_| kept.is_none_or(|kept| kept.presence.is_none())) {
            let change = match (presence, spec.enabled) {
                (Presence::Unloaded, true) => Some(UndoneChange::Unloaded),
                (Presence::Disabled, true) => Some(UndoneChange::Disabled),
                (Presence::Enabled, false) => Some(UndoneChange::Enabled),
                _ => None,
            };
            undone.extend(change.map(|change| Undone::new(name, change)));
        }
        let members = members(change, kept, &InstanceSettings::of(spec));
        if !members.is_empty() {
            undone.push(Undone::new(name, UndoneChange::Set(members)));
        }
    }
    for instance in running.iter().filter(|it| it.origin == Origin::Operator) {
        let spec = desired.specs.iter().find(|spec| spec.id == instance.id);
        if spec.is_some_and(|spec| gives_way(spec, desired)) {
            undone.retain(|it| it.name != instance.name);
            undone.push(Undone::new(&instance.name, UndoneChange::Replaced));
        }
    }
    undone
}

/// Returns the settings that an operator changed and that are now as configured.
fn members(change: &Override, kept: Option<&Override>, own: &InstanceSettings) -> Vec<&'static str> {
    let none = Override::default();
    let kept = kept.unwrap_or(&none);
    let lost = [
        ("priority", kept.priority.is_keep() && change.priority.after(own.priority) != own.priority),
        ("on_error", kept.on_error.is_keep() && change.on_error.after(own.on_error) != own.on_error),
        ("config", kept.config.is_keep() && change.config.clone().after(own.config.clone()) != own.config),
        ("isolation", kept.isolation.is_keep() && change.isolation.after(own.isolation) != own.isolation),
    ];
    let lost = lost.into_iter().filter(|(_, lost)| *lost).map(|(member, _)| member);
    let rights = if kept.sandbox.is_keep() { change.sandbox.clone() } else { SandboxChange::default() };
    lost.chain({ rights }.normalize(&own.sandbox)).collect()
}

#[cfg(test)]
mod tests;
