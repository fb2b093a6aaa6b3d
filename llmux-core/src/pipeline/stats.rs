//! What an instance's hooks have done: counts and durations, without a lock and in fixed memory.
//!
//! Written on the request path (two additions a call), read by `/metrics` and `plugin list`. Durations are
//! counted in buckets, four to each doubling, so a percentile is at most a quarter too high.

use std::{
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::Duration,
};

use super::hook::{FailureKind, HookKind};

/// Four buckets to a doubling, up to 2^42 ns (over an hour).
const BUCKETS: usize = 42 * 4;

/// The counts of one instance.
#[derive(Default)]
pub(crate) struct Stats {
    hooks: [HookStats; HookKind::ALL.len()],
}

struct HookStats {
    durations: [AtomicU64; BUCKETS],
    nanos: AtomicU64,
    errors: AtomicU64,
    panics: AtomicU64,
    timeouts: AtomicU64,
}

impl Default for HookStats {
    fn default() -> Self {
        Self {
            durations: [const { AtomicU64::new(0) }; BUCKETS],
            nanos: AtomicU64::new(0),
            errors: AtomicU64::new(0),
            panics: AtomicU64::new(0),
            timeouts: AtomicU64::new(0),
        }
    }
}

/// What one hook of an instance has done.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HookCounts {
    /// How often it was called.
    pub calls: u64,
    /// How often it returned an error, or an answer that made no sense.
    pub errors: u64,
    /// How often it panicked.
    pub panics: u64,
    /// How often it ran past its timeout.
    pub timeouts: u64,
    /// The time of all calls together.
    pub total: Duration,
    /// Half of the calls took no longer.
    pub p50: Duration,
    /// All but a hundredth of the calls took no longer.
    pub p99: Duration,
}

fn bucket(nanos: u64) -> usize {
    let nanos = nanos.max(4);
    let doubling = nanos.ilog2();
    let quarter = (nanos >> (doubling - 2)) & 3;
    ((doubling as usize) * 4 + quarter as usize).min(BUCKETS - 1)
}

/// The upper bound of a bucket.
fn bound(bucket: usize) -> Duration {
    let (doubling, quarter) = (bucket / 4, bucket % 4);
    Duration::from_nanos((5 + quarter as u64) << doubling >> 2)
}

impl Stats {
    pub(crate) fn record(&self, hook: HookKind, duration: Duration, failure: Option<FailureKind>) {
        let hook = &self.hooks[hook as usize];
        let nanos = duration.as_nanos() as u64;
        hook.durations[bucket(nanos)].fetch_add(1, Relaxed);
        hook.nanos.fetch_add(nanos, Relaxed);
        match failure {
            Some(FailureKind::Error) => hook.errors.fetch_add(1, Relaxed),
            Some(FailureKind::Panic) => hook.panics.fetch_add(1, Relaxed),
            Some(FailureKind::Timeout) => hook.timeouts.fetch_add(1, Relaxed),
            Some(FailureKind::Cancelled) | None => 0,
        };
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
            even.record(HookKind::Pre, Duration::from_micros(1 + at * 7919 % 10_000), None);
        }
        let rare = Stats::default();
        for at in 0..1000_u64 {
            let micros = if at % 50 == 0 { 5000 } else { 10 };
            rare.record(HookKind::Pre, Duration::from_micros(micros), None);
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
            stats.record(HookKind::Pre, Duration::from_micros(1), None);
        }
        stats.record(HookKind::Pre, Duration::from_millis(10), Some(FailureKind::Timeout));
        let counts = stats.counts(HookKind::Pre);
        assert_eq!((counts.calls, counts.timeouts, counts.errors), (100, 1, 0));
        assert!(counts.p50 < Duration::from_micros(2) && counts.p99 < Duration::from_micros(2));
        assert_eq!(stats.counts(HookKind::Post), HookCounts::default());
    }
}
