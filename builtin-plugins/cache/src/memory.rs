//! Answers in the memory of this process, kept by moka: bounded by entries and by bytes, and expiring.
//!
//! moka has one bound, the sum of weights. The bound is `max_bytes`, and an entry weighs at least
//! `max_bytes / max_entries`: so neither `max_entries` nor `max_bytes` is exceeded. An entry is no longer a hit once
//! it has expired on the host's clock. A task releases the memory of expired entries, because moka by itself cleans
//! up only while it is used.

use std::{
    sync::{Arc, Weak},
    time::Duration,
};

use llmux_abi::Host;

use crate::{
    config::Config,
    entry::{Entry, Events},
    key::Key,
};

/// Approximate bytes of an entry beside its texts: the key, moka's maps and lists, two reference counts.
const OVERHEAD: usize = 256;
/// Bytes of an event beside its texts.
const EVENT_OVERHEAD: usize = size_of::<(usize, usize)>();

type Now = Box<dyn Fn() -> Duration + Send + Sync>;

/// The answers kept in memory.
pub(crate) struct Memory {
    entries: moka::sync::Cache<Key, Stored>,
    ttl: Duration,
    now: Now,
}

#[derive(Clone)]
struct Stored {
    entry: Arc<Entry>,
    /// The time of expiry on the host's clock, which a test can control.
    expires: Duration,
}

impl Memory {
    pub(crate) fn new(config: &Config, host: &Host) -> Arc<Self> {
        let clock = host.clone();
        let memory = Arc::new(Self::with_clock(config, Box::new(move || clock.now())));
        let (sleeper, cleaned) = (host.clone(), Arc::downgrade(&memory));
        let every = (config.ttl / 4).clamp(Duration::from_millis(250), Duration::from_secs(30));
        // Without the task, the cache frees what has expired when it needs the room.
        let _ = host.spawn(async move {
            loop {
                sleeper.sleep(every).await;
                let Some(memory) = Weak::upgrade(&cleaned) else { return };
                memory.entries.run_pending_tasks();
            }
        });
        memory
    }

    fn with_clock(config: &Config, now: Now) -> Self {
        let least = config.max_bytes.div_ceil(config.max_entries);
        let weigh = move |_: &Key, stored: &Stored| -> u32 {
            let events = stored.entry.events().map_or(0, Events::len);
            let bytes = (OVERHEAD + stored.entry.size() + events * EVENT_OVERHEAD) as u64;
            bytes.max(least).try_into().unwrap_or(u32::MAX)
        };
        let entries = moka::sync::Cache::builder()
            .max_capacity(config.max_bytes)
            .weigher(weigh)
            .time_to_live(config.ttl)
            .build();
        Self { entries, ttl: config.ttl, now }
    }

    pub(crate) fn get(&self, key: &Key) -> Option<Arc<Entry>> {
        let Stored { entry, expires } = self.entries.get(key)?;
        if expires <= (self.now)() {
            self.entries.invalidate(key);
            return None;
        }
        Some(entry)
    }

    pub(crate) fn put(&self, key: &Key, entry: Arc<Entry>) {
        let expires = (self.now)() + self.ttl;
        self.entries.insert(*key, Stored { entry, expires });
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;
    use crate::key::testing::key;

    fn entry(bytes: usize) -> Arc<Entry> {
        Arc::new(Entry::Response("x".repeat(bytes)))
    }

    fn memory(config: &Config) -> (Memory, Arc<AtomicU64>) {
        let seconds = Arc::new(AtomicU64::new(0));
        let clock = Arc::clone(&seconds);
        let now = Box::new(move || Duration::from_secs(clock.load(Ordering::Relaxed)));
        (Memory::with_clock(config, now), seconds)
    }

    #[test]
    fn an_entry_is_found_until_it_expires() {
        let (memory, seconds) = memory(&Config { ttl: Duration::from_secs(60), ..Config::default() });
        memory.put(&key(1), entry(10));
        assert_eq!(memory.get(&key(1)), Some(entry(10)));
        assert_eq!(memory.get(&key(2)), None);
        seconds.store(59, Ordering::Relaxed);
        assert!(memory.get(&key(1)).is_some());
        seconds.store(60, Ordering::Relaxed);
        assert_eq!(memory.get(&key(1)), None);
        memory.entries.run_pending_tasks();
        assert_eq!(memory.entries.entry_count(), 0);
    }

    /// Waits in real time, because moka has a clock of its own.
    #[test]
    fn an_expired_entry_leaves_without_being_asked_for() {
        let (memory, _) = memory(&Config { ttl: Duration::from_millis(20), ..Config::default() });
        memory.put(&key(1), entry(10));
        memory.entries.run_pending_tasks();
        assert_eq!(memory.entries.entry_count(), 1);
        std::thread::sleep(Duration::from_millis(40));
        memory.entries.run_pending_tasks();
        assert_eq!(memory.entries.entry_count(), 0);
    }

    #[test]
    fn neither_bound_is_passed() {
        let config = Config { max_entries: 100, max_bytes: 1_000_000, ..Config::default() };
        let (small, _) = memory(&config);
        let (large, _) = memory(&config);
        for at in 0..10_000 {
            small.put(&key(at), entry(10));
            if at < 1_000 {
                large.put(&key(at), entry(99_000));
            }
        }
        small.entries.run_pending_tasks();
        large.entries.run_pending_tasks();
        assert!((50..=100).contains(&small.entries.entry_count()), "{}", small.entries.entry_count());
        assert!((5..=10).contains(&large.entries.entry_count()), "{}", large.entries.entry_count());
    }
}
