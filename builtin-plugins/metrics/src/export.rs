//! The export of the figures as metrics of the host, for its `/metrics`.
//!
//! If the host refuses a metric, the refusal is logged and the metric is left out. The others are still exported.

use llmux_abi::{Counter, Histogram, Host, Result};

use crate::{labels::Bounded, request::RequestMetrics};

/// Upper bounds of the buckets for times, in seconds: a cache answers in less than 1 ms, a model in up to minutes.
const TIMES: [f64; 16] =
    [0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 30.0, 60.0, 120.0];
/// Upper bounds of the buckets for speeds, in tokens per second.
const SPEEDS: [f64; 10] = [1.0, 5.0, 10.0, 20.0, 40.0, 60.0, 100.0, 200.0, 500.0, 1_000.0];

/// The metrics that the host registered; `None` for a refused one.
pub(crate) struct Export {
    requests: Option<Counter>,
    duration: Option<Histogram>,
    first_token: Option<Histogram>,
    speed: Option<Histogram>,
    tokens: Option<Counter>,
    cache_hits: Option<Counter>,
    rate_limited: Option<Counter>,
}

fn taken<M>(metric: Result<M>) -> Option<M> {
    metric.map_err(|error| tracing::warn!(%error, "the host refused a metric; it is left out")).ok()
}

impl Export {
    pub(crate) fn register(host: &Host) -> Self {
        let who = ["endpoint", "model", "provider"];
        let with_outcome = ["endpoint", "model", "provider", "outcome"];
        let counter = |name, help, labels: &[&str]| taken(host.counter(name, help, labels));
        let histogram = |name, help, buckets: &[f64]| taken(host.histogram(name, help, &who, buckets));
        Self {
            requests: counter(
                "llmux_requests_total",
                "Requests, by how they ended: success, cancelled, or the error's type",
                &with_outcome,
            ),
            duration: histogram(
                "llmux_request_duration_seconds",
                "From a request's arrival to its end",
                &TIMES,
            ),
            first_token: histogram(
                "llmux_time_to_first_token_seconds",
                "From a streaming request's arrival to the first chunk for the client",
                &TIMES,
            ),
            speed: histogram("llmux_tokens_per_second", "Tokens of the answer per second", &SPEEDS),
            tokens: counter(
                "llmux_tokens_total",
                "Tokens used, as providers count them; answers from a cache use none",
                &["type"],
            ),
            cache_hits: counter("llmux_cache_hits_total", "Requests answered from a cache", &[]),
            rate_limited: counter("llmux_rate_limited_total", "Requests refused by a rate limit", &[]),
        }
    }

    pub(crate) fn record(&self, request: &RequestMetrics<'_>, labels: &Bounded) {
        let Bounded { endpoint, model, provider, outcome } = labels;
        let who = [&**endpoint, &**model, &**provider];
        if let Some(requests) = &self.requests {
            requests.increment(&[endpoint, model, provider, outcome]);
        }
        if let Some(duration) = &self.duration {
            duration.observe(&who, request.latency.as_secs_f64());
        }
        if let (Some(first_token), Some(time)) = (&self.first_token, request.first_token) {
            first_token.observe(&who, time.as_secs_f64());
        }
        if let (Some(speed), Some(tokens)) = (&self.speed, request.tokens_per_second()) {
            speed.observe(&who, tokens);
        }
        if let (Some(tokens), Some(usage)) = (&self.tokens, request.usage) {
            tokens.add(&["prompt"], usage.prompt_tokens as f64);
            tokens.add(&["completion"], usage.completion_tokens as f64);
        }
        if let (Some(hits), true) = (&self.cache_hits, request.cache_hit) {
            hits.increment(&[]);
        }
        if let (Some(limited), true) = (&self.rate_limited, request.rate_limited) {
            limited.increment(&[]);
        }
    }
}
