//! The sums of the figures, in total and by model and provider, and snapshots of them.
//!
//! Times and speeds are recorded in HDR histograms, whose size is fixed: with 3 significant digits for the total
//! (about 100 KB each), with 2 for each model and provider (about 13 KB each, made on first use). One mutex guards all
//! of them. `on_complete`, which no request waits for, holds it for about a microsecond; a snapshot holds it while it
//! is made.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use hdrhistogram::Histogram;
use serde::Serialize;

use crate::{
    labels::Bounded,
    request::{RequestMetrics, RequestOutcome},
};

/// The longest time, in microseconds: an hour. Longer times count as an hour.
const MOST_MICROS: u64 = 3_600_000_000;
/// The highest speed, in thousandths of tokens per second: 100,000 tokens per second.
const MOST_MILLITOKENS: u64 = 100_000_000;

/// The figures of all requests. Clones share the same figures.
#[derive(Clone, Default)]
pub struct Stats(Arc<Mutex<Tables>>);

#[derive(Default)]
struct Tables {
    all: Option<Table>,
    models: HashMap<Arc<str>, Table>,
    providers: HashMap<Arc<str>, Table>,
}

impl Stats {
    /// Returns the figures so far.
    pub fn snapshot(&self) -> Snapshot {
        let tables = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let by_name = |tables: &HashMap<Arc<str>, Table>| {
            tables.iter().map(|(name, table)| (name.to_string(), table.summary())).collect()
        };
        Snapshot {
            all: tables.all.as_ref().map(Table::summary).unwrap_or_default(),
            models: by_name(&tables.models),
            providers: by_name(&tables.providers),
        }
    }

    /// Sets all figures to zero.
    pub fn reset(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Tables::default();
    }

    pub(crate) fn record(&self, request: &RequestMetrics<'_>, labels: &Bounded) {
        let tables = &mut *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        tables.all.get_or_insert_with(|| Table::new(3)).record(request, labels);
        for (tables, name) in [(&mut tables.models, &labels.model), (&mut tables.providers, &labels.provider)]
        {
            tables.entry(Arc::clone(name)).or_insert_with(|| Table::new(2)).record(request, labels);
        }
    }
}

/// The figures of a group of requests.
struct Table {
    counts: Summary,
    digits: u8,
    latency: Histogram<u32>,
    /// Made on first use, like `speed`: a model that no provider serves has neither.
    first_token: Option<Histogram<u32>>,
    speed: Option<Histogram<u32>>,
}

fn histogram(most: u64, digits: u8) -> Histogram<u32> {
    Histogram::new_with_bounds(1, most, digits).expect("the bounds and digits are constants in range")
}

fn micros(duration: Duration) -> u64 {
    duration.as_micros().try_into().unwrap_or(u64::MAX)
}

impl Table {
    fn new(digits: u8) -> Self {
        Self {
            counts: Summary::default(),
            digits,
            latency: histogram(MOST_MICROS, digits),
            first_token: None,
            speed: None,
        }
    }

    fn record(&mut self, request: &RequestMetrics<'_>, labels: &Bounded) {
        let counts = &mut self.counts;
        counts.requests += 1;
        match request.outcome {
            RequestOutcome::Success => counts.successes += 1,
            RequestOutcome::Cancelled => counts.cancelled += 1,
            RequestOutcome::Failure(_) => match counts.failures.get_mut(&*labels.outcome) {
                Some(failures) => *failures += 1,
                None => {
                    counts.failures.insert(labels.outcome.to_string(), 1);
                }
            },
        }
        counts.cache_hits += u64::from(request.cache_hit);
        counts.rate_limited += u64::from(request.rate_limited);
        if let Some(usage) = request.usage {
            // A provider may state any number.
            for (count, tokens) in [
                (&mut counts.prompt_tokens, usage.prompt_tokens),
                (&mut counts.completion_tokens, usage.completion_tokens),
                (&mut counts.total_tokens, usage.total_tokens),
            ] {
                *count = count.saturating_add(tokens);
            }
        }
        self.latency.saturating_record(micros(request.latency));
        if let Some(first_token) = request.first_token {
            let times = self.first_token.get_or_insert_with(|| histogram(MOST_MICROS, self.digits));
            times.saturating_record(micros(first_token));
        }
        if let Some(speed) = request.tokens_per_second() {
            let speeds = self.speed.get_or_insert_with(|| histogram(MOST_MILLITOKENS, self.digits));
            speeds.saturating_record((speed * 1_000.0) as u64);
        }
    }

    fn summary(&self) -> Summary {
        Summary {
            latency_ms: Percentiles::of(&self.latency),
            first_token_ms: self.first_token.as_ref().map(Percentiles::of).unwrap_or_default(),
            tokens_per_second: self.speed.as_ref().map(Percentiles::of).unwrap_or_default(),
            ..self.counts.clone()
        }
    }
}

/// The figures at one moment.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Snapshot {
    /// All requests.
    pub all: Summary,
    /// The requests by model. Models beyond the bound are counted under `other`.
    pub models: BTreeMap<String, Summary>,
    /// The requests by provider. Requests that reached no provider are counted under `none`.
    pub providers: BTreeMap<String, Summary>,
}

/// The figures of a group of requests.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Summary {
    /// Number of requests.
    pub requests: u64,
    /// Requests that ended with a response, or whose stream ended normally.
    pub successes: u64,
    /// Requests that ended with an error, by the type of the error.
    pub failures: BTreeMap<String, u64>,
    /// Requests whose client disconnected.
    pub cancelled: u64,
    /// Requests answered from a cache; they also count as successes.
    pub cache_hits: u64,
    /// Requests that a rate limit refused; they also count as failures.
    pub rate_limited: u64,
    /// Tokens of prompts. The three counts of tokens leave out answers from a cache.
    pub prompt_tokens: u64,
    /// Tokens of answers.
    pub completion_tokens: u64,
    /// All tokens.
    pub total_tokens: u64,
    /// Time from arrival to end, in milliseconds.
    pub latency_ms: Percentiles,
    /// Time from arrival to the first chunk, in milliseconds; streams only.
    pub first_token_ms: Percentiles,
    /// Tokens of the answer per second.
    pub tokens_per_second: Percentiles,
}

/// The summary of a histogram. All fields are zero for an empty histogram.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Percentiles {
    /// Number of values.
    pub count: u64,
    /// Mean of the values.
    pub mean: f64,
    /// 50th percentile: half of the values are at most this.
    pub p50: f64,
    /// 95th percentile.
    pub p95: f64,
    /// 99th percentile.
    pub p99: f64,
    /// Largest value.
    pub max: f64,
}

impl Percentiles {
    /// Summarizes a histogram. Both kinds of histogram record thousandths of the reported unit.
    fn of(histogram: &Histogram<u32>) -> Self {
        if histogram.is_empty() {
            return Self::default();
        }
        let at = |quantile| histogram.value_at_quantile(quantile) as f64 / 1_000.0;
        Self {
            count: histogram.len(),
            mean: histogram.mean() / 1_000.0,
            p50: at(0.5),
            p95: at(0.95),
            p99: at(0.99),
            max: histogram.max() as f64 / 1_000.0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{labels::Labels, request::testing::request};

    fn stats<'a>(requests: impl IntoIterator<Item = RequestMetrics<'a>>) -> Stats {
        let (labels, stats) = (Labels::new(1_000), Stats::default());
        for request in requests {
            stats.record(&request, &labels.bound(&request));
        }
        stats
    }

    #[test]
    fn percentiles_are_those_of_the_values() {
        let all =
            stats((1..=1_000).map(|millis| request("m", RequestOutcome::Success, millis))).snapshot().all;
        let latency = all.latency_ms;
        assert_eq!(latency.count, 1_000);
        for (found, expected) in
            [(latency.p50, 500.0), (latency.p95, 950.0), (latency.p99, 990.0), (latency.max, 1_000.0)]
        {
            assert!((found - expected).abs() <= expected / 500.0, "{found} for {expected}");
        }
        assert!((all.first_token_ms.p50 - 250.0).abs() < 1.0, "{all:?}");
        assert_eq!(all.completion_tokens, 10_000);
    }

    #[test]
    fn what_became_of_a_request_is_counted() {
        let limited = RequestMetrics {
            rate_limited: true,
            usage: None,
            provider: None,
            ..request("a", RequestOutcome::Failure("rate_limit_exceeded".to_owned()), 0)
        };
        let hit = RequestMetrics { cache_hit: true, usage: None, ..request("b", RequestOutcome::Success, 1) };
        let stats = stats([limited, hit, request("b", RequestOutcome::Cancelled, 1)]);
        let Snapshot { all, models, providers } = stats.snapshot();
        assert_eq!((all.requests, all.successes, all.cancelled), (3, 1, 1));
        assert_eq!((all.cache_hits, all.rate_limited), (1, 1));
        assert_eq!(all.failures["rate_limit_exceeded"], 1);
        assert_eq!(all.total_tokens, 13, "a hit uses none");
        // No provider was called for `a`.
        assert_eq!((models["unknown"].requests, models["b"].requests), (1, 2));
        assert_eq!((providers["none"].requests, providers["p"].requests), (1, 2));
        stats.reset();
        assert_eq!(stats.snapshot(), Snapshot::default());
    }

    #[test]
    fn a_time_beyond_the_scale_counts_as_its_end() {
        let week = request("m", RequestOutcome::Success, 7 * 86_400_000);
        let latency = stats([week]).snapshot().all.latency_ms;
        assert!((latency.max - 3_600_000.0).abs() < 10_000.0, "{latency:?}");
    }
}
