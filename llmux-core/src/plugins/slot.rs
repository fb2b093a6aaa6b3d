//! An instance and all that is known of it.

use std::{
    path::Path,
    sync::{Arc, Mutex, PoisonError},
    time::SystemTime,
};

use llmux_abi::raw::plugin::PluginModuleRef;
use serde_json::Value;
use tokio::sync::oneshot;

use super::{
    image::Loaded,
    listing::{self, PluginInfo, PluginKind, PluginState},
    manifest::{Manifest, OnError},
};
use crate::{
    boundary::Instance,
    pipeline::snapshot::{Entry, Lease},
};

/// An instance. Cheap to clone: a change works on a copy of the list.
#[derive(Clone)]
pub(super) struct Slot {
    pub(super) plugin: Arc<str>,
    pub(super) manifest: Option<Arc<Manifest>>,
    /// Makes the instance again with other settings; `None` for one made by hand.
    pub(super) module: Option<PluginModuleRef>,
    pub(super) library: Option<Loaded>,
    /// The operator's settings; `None` is the manifest's or the pipeline's.
    pub(super) priority: Option<i32>,
    pub(super) on_error: Option<OnError>,
    pub(super) sha256: Option<Arc<str>>,
    pub(super) config: Arc<Value>,
    pub(super) enabled: bool,
    /// Did it come because its library lies in a plugin folder?
    pub(super) autoloaded: bool,
    pub(super) entry: Arc<Entry>,
    pub(super) home: Home,
    pub(super) loaded_at: SystemTime,
}

/// Where an instance comes back to when the last snapshot has let go of it.
#[derive(Clone)]
pub(super) struct Home(Arc<Mutex<Option<oneshot::Receiver<Instance>>>>);

impl Home {
    pub(super) fn new(receiver: oneshot::Receiver<Instance>) -> Self {
        Self(Arc::new(Mutex::new(Some(receiver))))
    }

    pub(super) fn take(&self) -> Option<oneshot::Receiver<Instance>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl Slot {
    pub(super) fn name(&self) -> &str {
        &self.entry.name
    }

    pub(super) fn path(&self) -> Option<&Path> {
        self.library.as_ref().map(|library| library.path.as_path())
    }

    /// The libraries of a list of instances.
    pub(super) fn libraries(slots: &[Slot]) -> impl Iterator<Item = &Loaded> {
        slots.iter().filter_map(|slot| slot.library.as_ref())
    }

    fn lease(&self) -> &Arc<Lease> {
        &self.entry.lease
    }

    /// Is it the same instance, whatever its place?
    pub(super) fn is_same_instance(&self, other: &Slot) -> bool {
        Arc::ptr_eq(self.lease(), other.lease())
    }

    /// Is it the same instance at the same place?
    pub(super) fn is_same_entry(&self, other: &Slot) -> bool {
        Arc::ptr_eq(&self.entry, &other.entry)
    }

    /// Those of a list whose instance another list does not hold.
    pub(super) fn missing(slots: Vec<Slot>, others: &[Slot]) -> Vec<Slot> {
        let kept = |slot: &Slot| others.iter().any(|other| other.is_same_instance(slot));
        slots.into_iter().filter(|slot| !kept(slot)).collect()
    }

    /// What an operator sees of it.
    pub(super) fn info(&self) -> PluginInfo {
        let library = self.library.as_ref();
        PluginInfo {
            name: self.entry.name.to_string(),
            plugin: self.plugin.to_string(),
            version: self.manifest.as_ref().map(|manifest| manifest.version.to_string()),
            kind: if library.is_some() { PluginKind::Library } else { PluginKind::Static },
            library: library.map(|library| library.path.clone()),
            state: if self.enabled { PluginState::Active } else { PluginState::Disabled },
            priority: self.entry.priority,
            on_error: if self.entry.fails_request { OnError::Fail } else { OnError::Continue },
            generation: library.map_or(0, |library| library.generation),
            sha256: library.map(|library| library.sha256.to_string()),
            loaded_at: listing::seconds(self.loaded_at),
            file_missing: library.is_some_and(|library| listing::is_gone(&library.path)),
            autoloaded: self.autoloaded,
            error: None,
            hooks: listing::hooks(&self.entry.stats),
        }
    }
}
