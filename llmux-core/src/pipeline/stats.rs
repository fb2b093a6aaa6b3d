//! The counts and durations of an instance's hooks, without a lock and in fixed memory.
//!
//! The request path writes them (two additions a call); `/metrics` and `plugin list` read them. Durations are counted in
//! buckets, four for each doubling, so a percentile is at most a quarter too high.

use std::{
    sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed},
    time::Duration,
};

use super::{
    kind::{FailureKind, HookKind},
    traffic::Traffic,
};

/// Number of buckets: four for each doubling, up to 2^42 ns (over an hour).
const BUCKETS: usize = 42 * 4;

/// The counts of one instance.
#[derive(Default)]
pub(crate) struct Stats {
    hooks: [HookStats; HookKind::ALL.len()],
    short_circuits: AtomicU64,
    cached: AtomicU64,
    /// Number of requests whose `on_complete` hook runs now.
    pub(super) completing: AtomicUsize,
    pub(super) warnings: Warnings,
}

/// Warnings about hooks that block the thread: one in ten seconds, because each call of such a hook may block.
#[derive(Default)]
pub(crate) struct Warnings {
    /// The time of the last warning, in tens of seconds since the Unix epoch.
    last: AtomicU64,
    left_out: AtomicU64,
}

impl Warnings {
    /// Returns the number of warnings that were left out if another may be logged at this time.
    pub(super) fn next(&self, since_epoch: Duration) -> Option<u64> {
        let now = since_epoch.as_secs() / 10;
        if self.last.swap(now, Relaxed) == now {
            self.left_out.fetch_add(1, Relaxed);
            return None;
        }
        Some(self.left_out.swap(0, Relaxed))
    }
}

struct HookStats {
    durations: [AtomicU64; BUCKETS],
    nanos: AtomicU64,
    errors: AtomicU64,
    panics: AtomicU64,
    timeouts: AtomicU64,
    crashes: AtomicU64,
    bytes_read: AtomicU64,
    bytes_written: AtomicU64,
}

impl Default for HookStats {
    fn default() -> Self {
        Self {
            durations: [const { AtomicU64::new(0) }; BUCKETS],
            nanos: AtomicU64::new(0),
            errors: AtomicU64::new(0),
            panics: AtomicU64::new(0),
            timeouts: AtomicU64::new(0),
            crashes: AtomicU64::new(0),
            bytes_read: AtomicU64::new(0),
            bytes_written: AtomicU64::new(0),
        }
    }
}

/// The counts of one hook of an instance.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct HookCounts {
    /// Number of calls.
    pub(crate) calls: u64,
    /// Number of errors and of replies that the hook does not allow.
    pub(crate) errors: u64,
    /// Number of panics.
    pub(crate) panics: u64,
    /// Number of timeouts.
    pub(crate) timeouts: u64,
    /// Number of calls that failed because the child process died, or none was there.
    pub(crate) crashes: u64,
    /// Bytes of JSON that the plugin read.
    pub(crate) bytes_read: u64,
    /// Bytes of JSON that the plugin wrote.
    pub(crate) bytes_written: u64,
    /// Total duration of all calls.
    pub(crate) total: Duration,
    /// 50th percentile of the duration.
    pub(crate) p50: Duration,
    /// 99th percentile of the duration.
    pub(crate) p99: Duration,
}

fn bucket(nanos: u64) -> usize {
    let nanos = nanos.max(4);
    let doubling = nanos.ilog2();
    let quarter = (nanos >> (doubling - 2)) & 3;
    ((doubling as usize) * 4 + quarter as usize).min(BUCKETS - 1)
}

/// Returns the upper bound of a bucket.
fn bound(bucket: usize) -> Duration {
    let (doubling, quarter) = (bucket / 4, bucket % 4);
    Duration::from_nanos((5 + quarter as u64) << doubling >> 2)
}

impl Stats {
    #[inline]
    pub(crate) fn record(&self, hook: HookKind, nanos: u64, failure: Option<FailureKind>, traffic: Traffic) {
        let hook = &self.hooks[hook as usize];
        hook.durations[bucket(nanos)].fetch_add(1, Relaxed);
        hook.nanos.fetch_add(nanos, Relaxed);
        // Most calls of most plugins read and write nothing.
        if traffic.read > 0 {
            hook.bytes_read.fetch_add(traffic.read, Relaxed);
        }
        if traffic.written > 0 {
            hook.bytes_written.fetch_add(traffic.written, Relaxed);
        }
        match failure {
            Some(FailureKind::Error) => hook.errors.fetch_add(1, Relaxed),
            Some(FailureKind::Panic) => hook.panics.fetch_add(1, Relaxed),
            Some(FailureKind::Timeout) => hook.timeouts.fetch_add(1, Relaxed),
            Some(FailureKind::Crashed) => hook.crashes.fetch_add(1, Relaxed),
            Some(FailureKind::Cancelled) | None => 0,
        };
    }

    /// Counts a request that the instance answered or refused in the provider's place (rule P2).
    pub(crate) fn record_short_circuit(&self, is_cached: bool) {
        self.short_circuits.fetch_add(1, Relaxed);
        if is_cached {
            self.cached.fetch_add(1, Relaxed);
        }
    }

    /// Returns the number of short circuits, and the number of those that were answers from a cache.
    pub(crate) fn short_circuits(&self) -> (u64, u64) {
        (self.short_circuits.load(Relaxed), self.cached.load(Relaxed))
    }

    pub(crate) fn counts(&self, hook: HookKind) -> HookCounts {
        let hook = &self.hooks[hook as usize];
        let durations: Vec<u64> = hook.durations.iter().map(|count| count.load(Relaxed)).collect();
        let calls = durations.iter().sum();
        let percentile = |share: f64| {
            let rank = (calls as f64 * share).ceil() as u64;
            let mut seen = 0;
            let at = durations.iter().position(|count| {
                seen += count;
                seen >= rank.max(1)
            });
            at.map(bound).unwrap_or_default()
        };
        HookCounts {
            calls,
            errors: hook.errors.load(Relaxed),
            panics: hook.panics.load(Relaxed),
            timeouts: hook.timeouts.load(Relaxed),
            crashes: hook.crashes.load(Relaxed),
            bytes_read: hook.bytes_read.load(Relaxed),
            bytes_written: hook.bytes_written.load(Relaxed),
            total: Duration::from_nanos(hook.nanos.load(Relaxed)),
            p50: percentile(0.5),
            p99: percentile(0.99),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn e4_a_hook_that_always_blocks_is_named_once_in_ten_seconds() {
        let warnings = Warnings::default();
        let next = |second| warnings.next(Duration::from_secs(second));
        assert_eq!(next(1000), Some(0));
        assert_eq!((next(1001), next(1009)), (None, None));
        assert_eq!(next(1010), Some(2), "the number of those that were left out");
        assert_eq!(next(5000), Some(0));
    }

    #[test]
    fn a_duration_lies_below_its_buckets_bound_and_within_a_quarter_of_it() {
        for nanos in [4, 5, 7, 8, 100, 1_000, 12_345, 10_000_000_000] {
            let bound = bound(bucket(nanos)).as_nanos() as f64;
            assert!(bound >= nanos as f64 && bound <= nanos as f64 * 1.26, "{nanos}: {bound}");
        }
        assert_eq!(bucket(u64::MAX), BUCKETS - 1);
        assert_eq!(bucket(0), bucket(4));
    }

    #[test]
    fn percentiles_of_a_known_distribution_are_right_to_within_a_quarter_and_never_too_low() {
        let even = Stats::default();
        // In an order of its own: 7919 is prime to 10 000.
        for at in 0..10_000_u64 {
            even.record(HookKind::Pre, 1000 * (1 + at * 7919 % 10_000), None, Traffic::default());
        }
        let rare = Stats::default();
        for at in 0..1000_u64 {
            let nanos = if at % 50 == 0 { 5_000_000 } else { 10_000 };
            rare.record(HookKind::Pre, nanos, None, Traffic::default());
        }
        let (even, rare) = (even.counts(HookKind::Pre), rare.counts(HookKind::Pre));
        for (found, exact) in [(even.p50, 5000), (even.p99, 9900), (rare.p50, 10), (rare.p99, 5000)] {
            let exact = Duration::from_micros(exact);
            assert!(found >= exact && found <= exact * 5 / 4, "{found:?} instead of {exact:?}");
        }
        assert_eq!((even.calls, even.total), (10_000, Duration::from_micros(10_000 * 10_001 / 2)));
    }

    #[test]
    fn percentiles_come_from_the_buckets() {
        let stats = Stats::default();
        for _ in 0..99 {
            stats.record(HookKind::Pre, 1000, None, Traffic { read: 2, written: 0 });
        }
        let timeout = Some(FailureKind::Timeout);
        stats.record(HookKind::Pre, 10_000_000, timeout, Traffic { read: 1, written: 5 });
        let counts = stats.counts(HookKind::Pre);
        assert_eq!((counts.calls, counts.timeouts, counts.errors), (100, 1, 0));
        assert_eq!((counts.bytes_read, counts.bytes_written), (199, 5));
        assert!(counts.p50 < Duration::from_micros(2) && counts.p99 < Duration::from_micros(2));
        assert_eq!(stats.counts(HookKind::Post), HookCounts::default());
    }
}
