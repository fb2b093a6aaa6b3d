//! The limiter of this process: a token bucket for each key, in bounded memory.
//!
//! Requests are counted by `governor` (GCRA) on the host's clock. Its buckets are kept in a table of this module,
//! because clients choose keys: an entry takes 16 bytes for any key, the entries of full buckets are dropped, and the
//! number of keys is bounded. If the table is full of busy keys, new keys share one bucket. Evicting a busy key
//! instead would let a client clear its own bucket by inventing keys.
//!
//! Tokens are counted in a second table of the same kind, without `governor`, because a charge may exceed the tokens
//! that are left. The state of a bucket is again one number: the time at which the bucket is full. A request reserves
//! tokens when it is admitted, and is settled at its end. A reservation that is never settled refills with time.

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

/// Interval at which the keys of full buckets are dropped.
pub(crate) const PRUNE_EVERY: Duration = Duration::from_secs(5);

const SHARDS: usize = 16;
/// The bucket that keys share if their shard is full.
const OVERFLOW: u64 = 0;
const MINUTE: u64 = 60_000_000_000;

/// The clock of the host, or of a test.
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

/// The buckets by the hash of their key. A bucket is the time at which it is full, in nanoseconds after `start`.
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
    /// The earliest time to prune this shard again while it is full. An earlier search would find few idle keys.
    prune_next: u64,
}

/// A hasher that returns its input, because the keys of the table are hashes already.
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

    /// Returns the shard of a key, locked, and the key of its bucket there: [`OVERFLOW`] if the shard is full.
    fn place(&self, key: u64) -> (MutexGuard<'_, Shard>, u64) {
        // The hash map of a shard uses the low bits and the highest seven bits.
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

    /// Changes the time at which a bucket is full. `change` gets the current one, if any, and the time now.
    fn update(&self, key: u64, change: impl FnOnce(Option<u64>, u64) -> u64) {
        let (mut shard, key) = self.0.place(key);
        let changed = change(shard.full_at.get(&key).copied(), self.0.now());
        shard.full_at.insert(key, changed);
    }

    /// Returns the nanoseconds until a bucket is full; zero for a full bucket.
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

/// Weak references to the tables, for the task that drops idle keys.
pub(crate) struct Prunable(Vec<Weak<Table>>);

impl Prunable {
    /// Drops the keys of full buckets. Returns false if the tables no longer exist.
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

/// The limiter of this process.
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
    /// Returns the nanoseconds in which a bucket gains this number of tokens.
    fn worth(&self, tokens: u64) -> u64 {
        let nanos = u128::from(tokens) * u128::from(MINUTE) / u128::from(self.per_minute);
        nanos.try_into().unwrap_or(u64::MAX)
    }

    /// Reserves tokens in a bucket that has a whole token. Otherwise returns the time until it has one.
    fn reserve(&self, key: u64, tokens: u64) -> Result<(), Duration> {
        let (worth, most) = (self.worth(tokens), MINUTE - self.worth(1));
        let mut wait = 0;
        self.buckets.update(key, |full_at, now| {
            let full_at = full_at.unwrap_or(0).max(now);
            wait = (full_at - now).saturating_sub(most);
            if wait > 0 { full_at } else { full_at.saturating_add(worth) }
        });
        if wait > 0 { Err(Duration::from_nanos(wait)) } else { Ok(()) }
    }

    /// Replaces reserved tokens by used ones. The balance may become negative.
    fn settle(&self, key: u64, reserved: u64, used: u64) {
        let (reserved, used) = (self.worth(reserved), self.worth(used));
        self.buckets.update(key, |full_at, now| {
            full_at.unwrap_or(0).saturating_sub(reserved).max(now).saturating_add(used)
        });
    }
}

/// The costs of a request at its end.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Settlement {
    /// Attempts that reached a provider, beyond the first.
    pub(crate) requests: u32,
    /// The tokens that were reserved, and the tokens that were used instead.
    pub(crate) reserved: u64,
    pub(crate) used: u64,
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

    /// Decides about a request of a key. An allowed request is counted, and its tokens are reserved.
    pub(crate) fn decide(&self, key: u64, reserved: u64) -> Decision {
        if let Some(tokens) = &self.tokens
            && let Err(retry_after) = tokens.reserve(key, reserved)
        {
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
                self.settle(key, Settlement { requests: 0, reserved, used: 0 });
                let now = clock::Clock::now(&self.clock);
                // Never zero: a client must not retry at once.
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

    /// Charges a request at its end: the attempts beyond the first, and the used tokens instead of the reserved ones.
    pub(crate) fn settle(&self, key: u64, Settlement { requests, reserved, used }: Settlement) {
        if requests > 0 {
            let worth = nanos(self.interval).saturating_mul(requests.into());
            let charged = |full_at: Option<u64>, now| full_at.unwrap_or(0).max(now).saturating_add(worth);
            self.requests.update(key, charged);
        }
        if let Some(tokens) = &self.tokens
            && reserved != used
        {
            tokens.settle(key, reserved, used);
        }
    }

    /// Returns the tables for the task that drops idle keys.
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
