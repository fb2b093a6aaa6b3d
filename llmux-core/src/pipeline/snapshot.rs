//! One immutable version of the pipeline: the sorted list of instances. A request takes it once (rule O2).
//!
//! While an exclusive instance is replaced (rule D4), a version without instances stands in the place of the pipeline:
//! new requests see that it is held, and wait. So the entrance costs a request nothing beyond the load of its snapshot.

use std::sync::{Arc, Weak};

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
    /// The places of the entries that have a hook, for each kind of hook. An instance costs nothing where it has no hook.
    pub(crate) with_hook: [Box<[usize]>; HookKind::ALL.len()],
    /// The places of the entries that have a turn at the point of a hook: those with the hook, those with a hook for the texts
    /// or tool calls that pass there, and those that receive streams as one answer.
    pub(crate) turns: [Box<[usize]>; HookKind::ALL.len()],
    /// Whether new requests may use this version.
    pub(crate) entrance: Entrance,
    /// Raised when the requests that still use this version must end (rule O2).
    pub(crate) over: Arc<watch::Sender<bool>>,
    /// Dropped with the last request that uses this version: a shutdown waits for it.
    pub(crate) _alive: Option<mpsc::Sender<()>>,
    /// Closes when the last holder drops this version, after its entries.
    pub(crate) gone: watch::Sender<()>,
}

/// Whether new requests may use a version of the pipeline.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Entrance {
    /// Requests enter.
    #[default]
    Open,
    /// An exclusive instance is being replaced: requests wait for the next version (rule D4).
    Held,
    /// The pipeline has been shut down: requests are refused.
    Closed,
}

impl Snapshot {
    pub(crate) fn new(mut entries: Vec<Arc<Entry>>) -> Self {
        entries.sort_by_key(|entry| (entry.priority, entry.order));
        let places =
            |has: &dyn Fn(&Entry) -> bool| (0..entries.len()).filter(|at| has(&entries[*at])).collect();
        let with_hook = HookKind::ALL.map(|hook| places(&|entry| entry.has(hook)));
        let turns = HookKind::ALL.map(|hook| match hook {
            HookKind::Complete | HookKind::Cleanup | HookKind::Beside => places(&|entry| entry.has(hook)),
            HookKind::Post => places(&|entry| entry.has(hook) || entry.has_parts()),
            HookKind::Chunk | HookKind::PostStream => {
                places(&|entry| entry.has(hook) || entry.has_parts() || entry.is_whole)
            }
            _ => places(&|entry| entry.has(hook) || entry.has(HookKind::Text)),
        });
        Self { entries, with_hook, turns, ..Self::default() }
    }

    /// Returns true if an entry of this version holds the lease.
    pub(crate) fn holds(&self, lease: &Weak<Lease>) -> bool {
        self.entries.iter().any(|entry| std::ptr::eq(Arc::as_ptr(&entry.lease), lease.as_ptr()))
    }

    /// Returns true if any instance has a hook.
    pub(crate) fn has(&self, hook: HookKind) -> bool {
        !self.with_hook[hook as usize].is_empty()
    }

    /// Returns those of the first `ran` instances that have a turn at the point of a hook, with their places.
    pub(crate) fn turns(
        &self,
        hook: HookKind,
        ran: usize,
    ) -> impl DoubleEndedIterator<Item = (usize, &Entry)> {
        let places = &self.turns[hook as usize];
        let places = &places[..places.partition_point(|&at| at < ran)];
        places.iter().map(|&at| (at, &*self.entries[at]))
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
    /// True if the post hook receives streams as one answer (rule T6).
    pub(crate) is_whole: bool,
    pub(crate) stats: Arc<Stats>,
    pub(crate) lease: Arc<Lease>,
}

impl Entry {
    /// Returns this place with another instance.
    pub(crate) fn with_lease(&self, lease: Arc<Lease>) -> Self {
        let Self { name, priority, order, fails_request, is_whole, stats, lease: _ } = self;
        let (priority, order, fails_request, is_whole) = (*priority, *order, *fails_request, *is_whole);
        Self { name: name.clone(), priority, order, fails_request, is_whole, stats: stats.clone(), lease }
    }

    pub(crate) fn instance(&self) -> &dyn Hooks {
        self.lease.instance()
    }

    /// Returns true if the instance has a hook.
    pub(crate) fn has(&self, hook: HookKind) -> bool {
        self.lease.hooks.has(hook)
    }

    /// Returns true if the instance sees chunks in its chunk hook, and in nothing else.
    pub(crate) fn sees_only_chunks(&self) -> bool {
        self.has(HookKind::Chunk) && !self.has_parts() && !self.is_whole
    }

    /// Returns true if the instance has a hook for parts of an answer: texts or tool calls.
    fn has_parts(&self) -> bool {
        self.has(HookKind::Text) || self.has(HookKind::ToolCall)
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

    pub(crate) fn hooks(&self) -> HookSet {
        self.hooks
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
