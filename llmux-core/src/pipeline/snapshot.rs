//! The sorted list of instances: one immutable version of it, which a request takes once (rule O2).

use std::sync::Arc;

use tokio::sync::{mpsc, oneshot};

use super::{
    hook::{HookKind, HookSet, Hooks},
    stats::Stats,
};
use crate::boundary::Instance;

/// One version of the pipeline.
#[derive(Default)]
pub(crate) struct Snapshot {
    /// By priority, lowest first; equal priorities in the order of registration.
    pub(crate) entries: Vec<Arc<Entry>>,
    /// Refuses new requests: the pipeline has been shut down.
    pub(crate) closed: bool,
    /// Held until no request uses this version any more: a shutdown waits for the last of them.
    pub(crate) _alive: Option<mpsc::Sender<()>>,
}

impl Snapshot {
    pub(crate) fn new(mut entries: Vec<Arc<Entry>>) -> Self {
        entries.sort_by_key(|entry| (entry.priority, entry.order));
        Self { entries, closed: false, _alive: None }
    }

    /// The instances that have a hook, of the first `ran`, with their places.
    pub(crate) fn with(
        &self,
        hook: HookKind,
        ran: usize,
    ) -> impl DoubleEndedIterator<Item = (usize, &Entry)> {
        let entries = self.entries[..ran].iter().map(Arc::as_ref).enumerate();
        entries.filter(move |(_, entry)| entry.lease.hooks.has(hook))
    }
}

/// An instance's place in a pipeline.
pub(crate) struct Entry {
    pub(crate) name: Arc<str>,
    pub(crate) priority: i32,
    /// The order of registration.
    pub(crate) order: u64,
    /// Does a failed hook fail the request (rule E3)?
    pub(crate) fails_request: bool,
    pub(crate) stats: Arc<Stats>,
    pub(crate) lease: Arc<Lease>,
}

impl Entry {
    pub(crate) fn instance(&self) -> &dyn Hooks {
        self.lease.instance()
    }
}

/// Holds an instance for as long as any snapshot does. When the last holder lets go, the instance goes home:
/// to whoever waits to clean it up.
pub(crate) struct Lease {
    instance: Option<Instance>,
    hooks: HookSet,
    home: Option<oneshot::Sender<Instance>>,
}

impl Lease {
    pub(crate) fn new(instance: Instance) -> (Arc<Self>, oneshot::Receiver<Instance>) {
        let (home, returned) = oneshot::channel();
        let hooks = instance.hooks();
        (Arc::new(Self { instance: Some(instance), hooks, home: Some(home) }), returned)
    }

    pub(crate) fn instance(&self) -> &Instance {
        self.instance.as_ref().expect("a lease holds its instance until it is dropped")
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if let (Some(instance), Some(home)) = (self.instance.take(), self.home.take()) {
            // Nobody waits only when the whole registry is gone; then the instance is dropped here.
            let _ = home.send(instance);
        }
    }
}
