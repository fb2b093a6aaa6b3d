//! The steps that were taken before, for all texts of all threads: a table that fills while texts are read.
//!
//! `matching` reads it without a lock. A step that is not there yet is taken under a lock, once. A table has a bounded size, and
//! the number of tables is bounded: see [`Tables`]. Deliberately absent: the step itself, which is the automaton's.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, OnceLock, PoisonError,
        atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering},
    },
};

use super::automaton::{Automaton, Found, KINDS, Key, Kind, Scratch};

/// Largest size of the entries of a table, in bytes.
const MAX_ENTRIES: usize = 1 << 20;

/// Smallest number of states of a table, also for patterns of many symbols.
const MIN_STATES: usize = 64;

/// Largest number of states of a table that texts share.
const MAX_STATES: usize = 2048;

/// Largest number of states of a table for one part of one text.
const MAX_OWN_STATES: usize = 256;

/// Largest number of shared tables of one set of patterns.
const MAX_TABLES: usize = 4;

/// Size of the keys of states after which a table is full, in bytes.
const MAX_KEYS: usize = 1 << 20;

/// Steps that are more than a change of the state, for each state.
const CHANGES_PER_STATE: usize = 2;

/// Bit of an entry that is no state.
const CHANGE: u32 = 1 << 31;

/// Entry of a step that was not taken yet.
const UNKNOWN: u32 = u32::MAX;

/// A state: the place of its entries in the table.
pub(super) type StateAt = u32;

/// A step that finds a match or changes the beginnings of attempts.
#[derive(Debug)]
pub(super) struct Change {
    pub(super) next: StateAt,
    /// Groups of the state before the step.
    pub(super) groups_before: u16,
    pub(super) before: Option<Found>,
    pub(super) after: Option<Found>,
    pub(super) groups: Box<[u16]>,
}

/// A step as the table has it.
#[derive(Debug)]
pub(super) enum Entry<'t> {
    /// All groups of the next state are groups of this one, in the same places. From an idle state, the only group of the
    /// next state begins at the step's byte.
    State(StateAt),
    Change(&'t Change),
}

/// The table.
#[derive(Debug)]
pub(super) struct Table {
    entries: Box<[AtomicU32]>,
    changes: Box<[OnceLock<Change>]>,
    keys: Box<[OnceLock<Arc<Key>>]>,
    /// Binary logarithm of the number of entries of a state.
    stride: u32,
    /// State without an attempt, for each kind of the character before it that states can have.
    idle: [StateAt; KINDS.len()],
    /// State that ends a search. Only idle states are less.
    pub(super) dead: StateAt,
    filling: Mutex<Filling>,
    /// Place of a shared table in the order of them.
    shared: Option<Shared>,
}

/// Mark of a shared table. It counts the table until the last text releases it.
#[derive(Debug)]
struct Shared {
    generation: u64,
    count: Arc<AtomicUsize>,
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.count.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The tables of one set of patterns.
///
/// All texts share the newest table. A full table is replaced, and a text goes on in the new one with its next part. A text that
/// waits for its next part keeps an old table alive. While there are [`MAX_TABLES`] tables, a part that needs a new step has a
/// small table of its own, which ends with the part.
#[derive(Debug)]
pub(super) struct Tables {
    newest: Mutex<Arc<Table>>,
    generation: AtomicU64,
    count: Arc<AtomicUsize>,
}

impl Tables {
    pub(super) fn new(automaton: &Automaton) -> Self {
        let count = Arc::default();
        let newest = Mutex::new(Arc::new(Table::shared(automaton, 0, &count)));
        Self { newest, generation: AtomicU64::new(0), count }
    }

    /// The newest table.
    pub(super) fn newest(&self) -> Arc<Table> {
        self.newest.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Returns true for the newest table.
    pub(super) fn is_newest(&self, table: &Table) -> bool {
        let newest = self.generation.load(Ordering::Relaxed);
        table.shared.as_ref().is_some_and(|shared| shared.generation == newest)
    }

    /// Returns a table that is not `full`, and a state there.
    pub(super) fn with(
        &self,
        automaton: &Automaton,
        key: &Key,
        full: Option<&Table>,
    ) -> (Arc<Table>, StateAt) {
        let mut newest = self.newest.lock().unwrap_or_else(PoisonError::into_inner);
        if !full.is_some_and(|full| self.is_newest(full))
            && let Some(state) = newest.state(key)
        {
            return (newest.clone(), state);
        }
        let table = if self.count.load(Ordering::Relaxed) < MAX_TABLES {
            let generation = self.generation.load(Ordering::Relaxed) + 1;
            *newest = Arc::new(Table::shared(automaton, generation, &self.count));
            self.generation.store(generation, Ordering::Relaxed);
            newest.clone()
        } else {
            Arc::new(Table::new(automaton, MAX_OWN_STATES, None))
        };
        // An empty table has room for each key.
        let state = table.state(key).unwrap_or_default();
        (table, state)
    }
}

/// The part of a table that a thread needs while it adds to it.
#[derive(Debug)]
struct Filling {
    states: HashMap<Arc<Key>, StateAt>,
    changes: usize,
    key_bytes: usize,
    scratch: Scratch,
}

impl Table {
    fn shared(automaton: &Automaton, generation: u64, count: &Arc<AtomicUsize>) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self::new(automaton, MAX_STATES, Some(Shared { generation, count: count.clone() }))
    }

    fn new(automaton: &Automaton, max_states: usize, shared: Option<Shared>) -> Self {
        let stride = automaton.symbols().next_power_of_two().trailing_zeros();
        let states = ((MAX_ENTRIES / size_of::<u32>()) >> stride).clamp(MIN_STATES, max_states);
        let filling =
            Filling { states: HashMap::new(), changes: 0, key_bytes: 0, scratch: automaton.scratch() };
        let mut table = Self {
            entries: (0..states << stride).map(|_| AtomicU32::new(UNKNOWN)).collect(),
            changes: (0..states * CHANGES_PER_STATE).map(|_| OnceLock::new()).collect(),
            keys: (0..states).map(|_| OnceLock::new()).collect(),
            stride,
            idle: [0; KINDS.len()],
            dead: 0,
            filling: Mutex::new(filling),
            shared,
        };
        let add = |key| table.state(&key).unwrap_or_default();
        let mut idle = table.idle;
        for kind in automaton.kinds() {
            idle[usize::from(kind)] = add(Key::idle(kind));
        }
        let dead = add(Key::dead());
        (table.idle, table.dead) = (idle, dead);
        table
    }

    /// Returns true for a table that is not of one part alone.
    pub(super) fn is_shared(&self) -> bool {
        self.shared.is_some()
    }

    /// State without an attempt.
    pub(super) fn idle(&self, before: Kind) -> StateAt {
        self.idle[usize::from(before)]
    }

    /// Returns the next state of a step that is known and changes nothing else.
    pub(super) fn known(&self, state: StateAt, symbol: usize) -> Option<StateAt> {
        let entry = self.entries[state as usize + symbol].load(Ordering::Acquire);
        (entry < CHANGE).then_some(entry)
    }

    /// Returns a step, and takes it first if it was not taken yet; `None` if the table is full.
    pub(super) fn step(&self, automaton: &Automaton, state: StateAt, symbol: usize) -> Option<Entry<'_>> {
        let at = &self.entries[state as usize + symbol];
        let entry = match at.load(Ordering::Acquire) {
            UNKNOWN => self.fill(automaton, state, symbol, at)?,
            entry => entry,
        };
        if entry < CHANGE {
            return Some(Entry::State(entry));
        }
        self.changes[(entry ^ CHANGE) as usize].get().map(Entry::Change)
    }

    fn fill(&self, automaton: &Automaton, state: StateAt, symbol: usize, entry: &AtomicU32) -> Option<u32> {
        let key = self.key(state)?;
        let filling = &mut *self.filling.lock().unwrap_or_else(PoisonError::into_inner);
        // Another thread may have taken the step in the meantime.
        let known = entry.load(Ordering::Relaxed);
        if known != UNKNOWN {
            return Some(known);
        }
        let step = automaton.step(key, symbol, &mut filling.scratch);
        let next = self.add(filling, &step.next)?;
        let is_in_place = (0..).zip(&step.groups).all(|(at, group)| at == *group);
        let has_new = step.groups.last() == Some(&key.groups());
        let found = step.before.or(step.after);
        let is_idle = state < self.dead;
        let is_plain = found.is_none() && is_in_place && (is_idle || !has_new) && next != self.dead;
        let value = if is_plain {
            next
        } else {
            let change = Change {
                next,
                groups_before: key.groups(),
                before: step.before,
                after: step.after,
                groups: step.groups,
            };
            self.changes.get(filling.changes)?.set(change).ok()?;
            filling.changes += 1;
            CHANGE | (filling.changes as u32 - 1)
        };
        entry.store(value, Ordering::Release);
        Some(value)
    }

    /// Key of a state.
    pub(super) fn key(&self, state: StateAt) -> Option<&Key> {
        self.keys[(state >> self.stride) as usize].get().map(|key| &**key)
    }

    /// Returns the state of a key, and adds it if it is new; `None` if the table is full.
    pub(super) fn state(&self, key: &Key) -> Option<StateAt> {
        self.add(&mut self.filling.lock().unwrap_or_else(PoisonError::into_inner), key)
    }

    fn add(&self, filling: &mut Filling, key: &Key) -> Option<StateAt> {
        if let Some(&state) = filling.states.get(key) {
            return Some(state);
        }
        let at = filling.states.len();
        // Memory is counted before the key, so that an empty table has room for a key of any size.
        let slot = self.keys.get(at).filter(|_| filling.key_bytes < MAX_KEYS)?;
        let key = Arc::new(key.clone());
        slot.set(key.clone()).ok()?;
        filling.key_bytes += key.size();
        let state = (at << self.stride) as StateAt;
        filling.states.insert(key, state);
        Some(state)
    }
}
