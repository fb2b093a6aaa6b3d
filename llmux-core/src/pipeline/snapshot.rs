//! One immutable version of the pipeline: the sorted list of instances. A request takes it once (rule O2).

use std::sync::Arc;

use tokio::sync::{mpsc, oneshot, watch};

use super::{
    hook::Hooks,
    kind::{HookKind, HookSet},
    stats::Stats,
};

/// One version of the pipeline.
#[derive(Default)]
pub(crate) struct Snapshot {
    /// By priority, lowest first; equal priorities in the order of registration.
    pub(crate) entries: Vec<Arc<Entry>>,
    /// True once the pipeline has been shut down: new requests are refused.
    pub(crate) closed: bool,
    /// Raised when the requests that still use this version must end (rule O2).
    pub(crate) over: Arc<watch::Sender<bool>>,
    /// Dropped with the last request that uses this version: a shutdown waits for it.
    pub(crate) _alive: Option<mpsc::Sender<()>>,
}

impl Snapshot {
    pub(crate) fn new(mut entries: Vec<Arc<Entry>>) -> Self {
        entries.sort_by_key(|entry| (entry.priority, entry.order));
        Self { entries, ..Self::default() }
    }

    /// Returns true if any instance has a hook.
    pub(crate) fn has(&self, hook: HookKind) -> bool {
        self.entries.iter().any(|entry| entry.lease.hooks.has(hook))
    }

    /// Returns those of the first `ran` instances that have a hook, with their places.
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
    /// True if a failed hook fails the request (rule E3).
    pub(crate) fails_request: bool,
    pub(crate) stats: Arc<Stats>,
    pub(crate) lease: Arc<Lease>,
}

impl Entry {
    pub(crate) fn instance(&self) -> &dyn Hooks {
        self.lease.instance()
    }
}

/// Keeps an instance alive for as long as any snapshot holds it. The last holder sends the instance back to the
/// receiver that [`Lease::new`] returned, where it is cleaned up.
pub(crate) struct Lease {
    instance: Option<Box<dyn Hooks>>,
    hooks: HookSet,
    home: Option<oneshot::Sender<Box<dyn Hooks>>>,
}

impl Lease {
    pub(crate) fn new(instance: Box<dyn Hooks>) -> (Arc<Self>, oneshot::Receiver<Box<dyn Hooks>>) {
        let (home, returned) = oneshot::channel();
        let hooks = instance.hooks();
        (Arc::new(Self { instance: Some(instance), hooks, home: Some(home) }), returned)
    }

    pub(crate) fn instance(&self) -> &dyn Hooks {
        self.instance.as_deref().expect("a lease holds its instance until it is dropped")
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if let (Some(instance), Some(home)) = (self.instance.take(), self.home.take()) {
            // If the registry is gone, nothing receives the instance, and it is dropped here.
            let _ = home.send(instance);
        }
    }
}
