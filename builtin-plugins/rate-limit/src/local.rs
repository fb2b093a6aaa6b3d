//! The limiter of this process: a token bucket for each key, in bounded memory.
//!
//! Requests are counted by `governor` (GCRA) on the host's clock. Its buckets live in a table of this
//! module's own, since a client chooses keys: an entry is 16 bytes whatever the key, entries that are full
//! again are dropped, and the number of keys is bounded. When the table is full of busy keys, new keys share
//! one bucket: evicting a busy one instead would let a client clear its own record by inventing keys.
//!
//! Tokens are counted in a second table in the same way, except that a charge may exceed what is left, so
//! that `governor` cannot do it: the state of a bucket is again one moment, that at which it is full.

use std::{
    collections::HashMap,
    hash::{BuildHasherDefault, Hasher},
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    time::Duration,
};

use governor::{
    Quota, RateLimiter,
    clock::{self, Reference},
    middleware::StateInformationMiddleware,
    nanos::Nanos,
    state::StateStore,
};

use crate::{
    answer::{Decision, Limit, Refusal},
    config::Limits,
};

/// How often keys that are full again are dropped.
pub(crate) const PRUNE_EVERY: Duration = Duration::from_secs(5);

const SHARDS: usize = 16;
/// Shared by the keys for which there is no place.
const OVERFLOW: u64 = 0;
const MINUTE: u64 = 60_000_000_000;

/// The host's clock, or a test's.
#[derive(Clone)]
pub(crate) struct Clock(Arc<dyn Fn() -> Duration + Send + Sync>);

impl Clock {
    pub(crate) fn new(now: impl Fn() -> Duration + Send + Sync + 'static) -> Self {
        Self(Arc::new(now))
    }
}

impl clock::Clock for Clock {
    type Instant = Duration;

    fn now(&self) -> Duration {
        (self.0)()
    }
}

/// Buckets by the hash of their key: for each, when it is full, in nanoseconds on `clock` after `start`.
#[derive(Clone)]
struct Buckets(Arc<Table>);

struct Table {
    shards: [Mutex<Shard>; SHARDS],
    most_in_shard: usize,
    clock: Clock,
    start: Duration,
}

#[derive(Default)]
struct Shard {
    full_at: HashMap<u64, u64, BuildHasherDefault<Hashed>>,
    /// Before this moment, searching a full shard for idle keys again would find few.
    prune_next: u64,
}

/// The keys of the table are hashes already.
#[derive(Default)]
struct Hashed(u64);

impl Hasher for Hashed {
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }
    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }
    fn finish(&self) -> u64 {
        self.0
    }
}

impl Table {
    fn now(&self) -> u64 {
        nanos(clock::Clock::now(&self.clock).saturating_sub(self.start))
    }

    /// The shard of a key, and the key under which it is kept there.
    fn place(&self, key: u64) -> (MutexGuard<'_, Shard>, u64) {
        // The map inside uses the low bits and the high seven.
        let at = (key >> 32) as usize % SHARDS;
        let mut shard = self.shards[at].lock().unwrap_or_else(PoisonError::into_inner);
        let is_full = shard.full_at.len() >= self.most_in_shard;
        if is_full && !shard.full_at.contains_key(&key) {
            let now = self.now();
            if now >= shard.prune_next {
                shard.prune(now);
                shard.prune_next = now + nanos(PRUNE_EVERY) / 5;
            }
            if shard.full_at.len() >= self.most_in_shard {
                return (shard, OVERFLOW);
            }
        }
        (shard, key)
    }
}

impl Shard {
    fn prune(&mut self, now: u64) {
        self.full_at.retain(|_, full_at| *full_at > now);
        if self.full_at.capacity() > 4 * self.full_at.len().max(16) {
            self.full_at.shrink_to(2 * self.full_at.len());
        }
    }
}

impl Buckets {
    fn new(max_keys: usize, clock: &Clock) -> Self {
        let start = clock::Clock::now(clock);
        let most_in_shard = max_keys.div_ceil(SHARDS);
        Self(Arc::new(Table { shards: Default::default(), most_in_shard, clock: clock.clone(), start }))
    }

    /// Changes when a bucket is full. `change` gets the moment there is, if any, and now.
    fn update(&self, key: u64, change: impl FnOnce(Option<u64>, u64) -> u64) {
        let (mut shard, key) = self.0.place(key);
        let changed = change(shard.full_at.get(&key).copied(), self.0.now());
        shard.full_at.insert(key, changed);
    }

    /// How long until a bucket is full, and zero for a full one.
    fn until_full(&self, key: u64) -> u64 {
        let (shard, key) = self.0.place(key);
        shard.full_at.get(&key).map_or(0, |full_at| full_at.saturating_sub(self.0.now()))
    }

    #[cfg(test)]
    fn len(&self) -> usize {
        self.0.shards.iter().map(|shard| shard.lock().expect("a shard").full_at.len()).sum()
    }
}

impl StateStore for Buckets {
    type Key = u64;

    fn measure_and_replace<T, F, E>(&self, key: &u64, decide: F) -> Result<T, E>
    where
        F: Fn(Option<Nanos>) -> Result<(T, Nanos), E>,
    {
        let (mut shard, key) = self.0.place(*key);
        let (answer, full_at) = decide(shard.full_at.get(&key).map(|full_at| Nanos::from(*full_at)))?;
        shard.full_at.insert(key, full_at.as_u64());
        Ok(answer)
    }
}

/// What the task that drops idle keys holds: the tables as long as somebody else does.
pub(crate) struct Prunable(Vec<Weak<Table>>);

impl Prunable {
    /// Drops the keys that are full again. `false` when the tables are gone.
    pub(crate) fn prune(&self) -> bool {
        for table in &self.0 {
            let Some(table) = table.upgrade() else { return false };
            for shard in &table.shards {
                shard.lock().unwrap_or_else(PoisonError::into_inner).prune(table.now());
            }
        }
        true
    }
}

/// The limiter.
pub(crate) struct Local {
    limiter: RateLimiter<u64, Buckets, Clock, StateInformationMiddleware>,
    requests: Buckets,
    tokens: Option<Tokens>,
    clock: Clock,
    interval: Duration,
    burst: u32,
}

struct Tokens {
    buckets: Buckets,
    per_minute: u64,
}

impl Tokens {
    /// The time in which so many tokens come back, in nanoseconds.
    fn worth(&self, tokens: u64) -> u64 {
        let nanos = u128::from(tokens) * u128::from(MINUTE) / u128::from(self.per_minute);
        nanos.try_into().unwrap_or(u64::MAX)
    }

    /// How long until there is a whole token, if there is none.
    fn wait(&self, key: u64) -> Option<Duration> {
        let wait = self.buckets.until_full(key).saturating_sub(MINUTE - self.worth(1));
        (wait > 0).then(|| Duration::from_nanos(wait))
    }
}

impl Local {
    pub(crate) fn new(limits: &Limits, max_keys: usize, clock: &Clock) -> Self {
        let requests = Buckets::new(max_keys, clock);
        let quota = Quota::with_period(limits.interval)
            .expect("a checked rate has an interval above zero")
            .allow_burst(limits.burst);
        Self {
            limiter: RateLimiter::new(quota, requests.clone(), clock.clone()),
            requests,
            tokens: limits
                .tokens_per_minute
                .map(|per_minute| Tokens { buckets: Buckets::new(max_keys, clock), per_minute }),
            clock: clock.clone(),
            interval: limits.interval,
            burst: limits.burst.get(),
        }
    }

    /// May a request of this key go on? If so, it is counted.
    pub(crate) fn decide(&self, key: u64) -> Decision {
        if let Some(retry_after) = self.tokens.as_ref().and_then(|tokens| tokens.wait(key)) {
            let reset = Duration::from_nanos(self.requests.until_full(key));
            let used = reset.as_nanos().div_ceil(self.interval.as_nanos()) as u32;
            let refused = Some(Refusal { what: Limit::Tokens, retry_after });
            return Decision { remaining: self.burst.saturating_sub(used), reset, refused };
        }
        match self.limiter.check_key(&key) {
            Ok(state) => {
                let remaining = state.remaining_burst_capacity();
                let used = self.burst.saturating_sub(remaining);
                Decision { remaining, reset: self.interval * used, refused: None }
            }
            Err(until) => {
                let now = clock::Clock::now(&self.clock);
                // Never zero, or a client would be told to come back at once.
                let retry_after = until.wait_time_from(now).max(Duration::from_nanos(1));
                let reset = retry_after + self.interval * (self.burst - 1);
                Decision {
                    remaining: 0,
                    reset,
                    refused: Some(Refusal { what: Limit::Requests, retry_after }),
                }
            }
        }
    }

    /// Takes tokens from a key, more than it has if need be.
    pub(crate) fn charge(&self, key: u64, used: u64) {
        if let Some(tokens) = &self.tokens {
            let worth = tokens.worth(used);
            tokens.buckets.update(key, |full_at, now| full_at.unwrap_or(0).max(now).saturating_add(worth));
        }
    }

    /// The tables, for the task that drops idle keys.
    pub(crate) fn prunable(&self) -> Prunable {
        let tables = std::iter::once(&self.requests).chain(self.tokens.iter().map(|tokens| &tokens.buckets));
        Prunable(tables.map(|buckets| Arc::downgrade(&buckets.0)).collect())
    }
}

fn nanos(duration: Duration) -> u64 {
    duration.duration_since(Duration::ZERO).as_u64()
}

#[cfg(test)]
mod tests;
