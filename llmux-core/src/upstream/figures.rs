//! The figures of one deployment: tries, failures, failovers, requests in flight, latency.
//!
//! `lease` counts, `info` and the selection by latency read. It consists of atomics, and keeps no past beyond a moving mean.

use std::{
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::Duration,
};

use tokio::time::Instant;

use super::failure::DeploymentFailure;

/// Upper bounds of the buckets of the histogram, in milliseconds.
pub(super) const BOUNDS: [u64; 14] =
    [10, 25, 50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 30_000, 60_000, 120_000, 600_000];

/// Shortest time between two log lines about one kind of failure of a deployment.
const SILENCE: Duration = Duration::from_secs(30);

/// The figures of one deployment.
#[derive(Debug)]
pub(super) struct Figures {
    epoch: Instant,
    pub(super) tries: AtomicU64,
    /// Requests that went on to another deployment.
    pub(super) failovers: AtomicU64,
    pub(super) in_flight: AtomicU64,
    failures: [Failures; DeploymentFailure::ALL.len()],
    pub(super) latency: Latency,
}

/// The failures of one kind.
#[derive(Debug, Default)]
struct Failures {
    count: AtomicU64,
    /// Time from which another line is logged, in milliseconds since the epoch.
    silent_until: AtomicU64,
    /// Lines that were not logged since the last one.
    unlogged: AtomicU64,
}

/// The times to an answer: to the whole of it, or to the first chunk of a stream.
#[derive(Debug, Default)]
pub(super) struct Latency {
    /// Counts between the bounds, not cumulative; the last one is above every bound.
    buckets: [AtomicU64; BOUNDS.len() + 1],
    micros: AtomicU64,
    /// Moving means in microseconds, of whole answers and of streams. 0: none yet.
    means: [AtomicU64; 2],
}

impl Default for Figures {
    fn default() -> Self {
        Self {
            epoch: Instant::now(),
            tries: AtomicU64::new(0),
            failovers: AtomicU64::new(0),
            in_flight: AtomicU64::new(0),
            failures: Default::default(),
            latency: Latency::default(),
        }
    }
}

impl Figures {
    /// Counts a failure.
    pub(super) fn count(&self, failure: DeploymentFailure) {
        self.failures[failure as usize].count.fetch_add(1, Relaxed);
    }

    /// Returns the failures of each kind.
    pub(super) fn failures(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let count = |failure: DeploymentFailure| self.failures[failure as usize].count.load(Relaxed);
        DeploymentFailure::ALL.into_iter().map(move |failure| (failure.as_str(), count(failure)))
    }

    /// Returns the number of failures without a log line since the last one, if a line about this failure may be logged now.
    pub(super) fn may_log(&self, failure: DeploymentFailure) -> Option<u64> {
        let failures = &self.failures[failure as usize];
        let now = self.epoch.elapsed().as_millis() as u64;
        let until = failures.silent_until.load(Relaxed);
        let next = now + SILENCE.as_millis() as u64;
        let may =
            now >= until && failures.silent_until.compare_exchange(until, next, Relaxed, Relaxed).is_ok();
        if may {
            return Some(failures.unlogged.swap(0, Relaxed));
        }
        failures.unlogged.fetch_add(1, Relaxed);
        None
    }
}

impl Latency {
    pub(super) fn record(&self, time: Duration, streams: bool) {
        let micros: u64 = time.as_micros().try_into().unwrap_or(u64::MAX);
        let bucket = BOUNDS.iter().position(|bound| micros <= bound * 1000).unwrap_or(BOUNDS.len());
        self.buckets[bucket].fetch_add(1, Relaxed);
        self.micros.fetch_add(micros, Relaxed);
        let mean = &self.means[usize::from(streams)];
        let before = mean.load(Relaxed);
        // Requests that race may lose one of their times.
        let after = if before == 0 { micros } else { before - before / 8 + micros / 8 };
        mean.store(after.max(1), Relaxed);
    }

    /// Returns the moving mean in microseconds; 0 before the first answer.
    pub(super) fn mean(&self, streams: bool) -> u64 {
        self.means[usize::from(streams)].load(Relaxed)
    }

    /// Returns the counts up to each bound, cumulative, then the number and the sum of all.
    pub(super) fn histogram(&self) -> ([u64; BOUNDS.len()], u64, Duration) {
        let mut sum = 0;
        let mut cumulative = [0; BOUNDS.len()];
        for (at, count) in cumulative.iter_mut().enumerate() {
            sum += self.buckets[at].load(Relaxed);
            *count = sum;
        }
        let all = sum + self.buckets[BOUNDS.len()].load(Relaxed);
        (cumulative, all, Duration::from_micros(self.micros.load(Relaxed)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn f6_a_failure_is_logged_once_in_a_while_with_the_number_of_those_between() {
        let figures = Figures::default();
        assert_eq!(figures.may_log(DeploymentFailure::Timeout), Some(0));
        assert_eq!(figures.may_log(DeploymentFailure::Timeout), None);
        assert_eq!(figures.may_log(DeploymentFailure::Server), Some(0), "another kind");
        assert_eq!(figures.may_log(DeploymentFailure::Timeout), None);
        tokio::time::advance(SILENCE).await;
        assert_eq!(figures.may_log(DeploymentFailure::Timeout), Some(2));
    }

    #[tokio::test(start_paused = true)]
    async fn the_histogram_is_cumulative_and_the_mean_moves() {
        let latency = Latency::default();
        for millis in [5, 10, 11, 700_000] {
            latency.record(Duration::from_millis(millis), false);
        }
        let (buckets, count, sum) = latency.histogram();
        assert_eq!((buckets[0], buckets[1], buckets[13], count), (2, 3, 3, 4));
        assert_eq!(sum, Duration::from_millis(700_026));
        assert_eq!(latency.mean(true), 0);
        latency.record(Duration::from_millis(8), true);
        latency.record(Duration::from_millis(16), true);
        assert_eq!(latency.mean(true), 9_000);
    }
}
