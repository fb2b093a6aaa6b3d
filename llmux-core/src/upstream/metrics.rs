//! The metrics of deployments, made anew whenever they are asked for.
//!
//! The client renders them together with the host's other metrics. It keeps nothing.

use std::sync::atomic::Ordering::Relaxed;

use prometheus::proto::{self, LabelPair, Metric, MetricFamily, MetricType};
use tokio::time::Instant;

use super::{
    any_model::AnyModels,
    deployment::{Deployment, Deployments},
    figures::BOUNDS,
    health::DeploymentState,
    info,
};

/// Returns the metrics of all deployments, as they are now.
pub(super) fn families(deployments: &Deployments, any: &AnyModels) -> Vec<MetricFamily> {
    let now = Instant::now();
    let all: Vec<&Deployment> =
        info::distinct(deployments, any).into_iter().map(|(deployment, _)| &**deployment).collect();
    let states = all.iter().flat_map(|deployment| {
        let state = deployment.record.health.state(now);
        DeploymentState::ALL
            .map(|it| gauge(deployment, &[("state", it.as_str())], f64::from(u8::from(it == state))))
    });
    let failures = all.iter().flat_map(|deployment| {
        let failures = deployment.record.figures.failures();
        failures.map(|(kind, count)| counter(deployment, &[("kind", kind)], count))
    });
    let tries = all.iter().map(|it| counter(it, &[], it.record.figures.tries.load(Relaxed)));
    let failovers = all.iter().map(|it| counter(it, &[], it.record.figures.failovers.load(Relaxed)));
    let in_flight = all.iter().map(|it| gauge(it, &[], it.record.figures.in_flight.load(Relaxed) as f64));
    let latency = all.iter().map(|it| histogram(it));
    vec![
        family(
            MetricType::GAUGE,
            "llmux_deployment_state",
            "State of each deployment: 1 for the current state",
            states.collect(),
        ),
        family(
            MetricType::COUNTER,
            "llmux_deployment_tries_total",
            "Requests sent to each deployment, retries included",
            tries.collect(),
        ),
        family(
            MetricType::COUNTER,
            "llmux_deployment_failures_total",
            "Failed tries and broken streams of each deployment",
            failures.collect(),
        ),
        family(
            MetricType::COUNTER,
            "llmux_deployment_failovers_total",
            "Requests that failed at a deployment and went on to another one",
            failovers.collect(),
        ),
        family(
            MetricType::GAUGE,
            "llmux_deployment_in_flight",
            "Requests that each deployment handles now, streams included",
            in_flight.collect(),
        ),
        family(
            MetricType::HISTOGRAM,
            "llmux_deployment_latency_seconds",
            "Time of successful tries to the answer, or to the first chunk of a stream",
            latency.collect(),
        ),
    ]
}

fn family(kind: MetricType, name: &str, help: &str, metrics: Vec<Metric>) -> MetricFamily {
    let mut family = MetricFamily::default();
    family.set_name(name.to_owned());
    family.set_help(help.to_owned());
    family.set_field_type(kind);
    family.set_metric(metrics);
    family
}

fn counter(deployment: &Deployment, labels: &[(&str, &str)], value: u64) -> Metric {
    let mut counter = proto::Counter::default();
    counter.set_value(value as f64);
    let mut metric = labeled(deployment, labels);
    metric.set_counter(counter);
    metric
}

fn gauge(deployment: &Deployment, labels: &[(&str, &str)], value: f64) -> Metric {
    let mut gauge = proto::Gauge::default();
    gauge.set_value(value);
    let mut metric = labeled(deployment, labels);
    metric.set_gauge(gauge);
    metric
}

fn histogram(deployment: &Deployment) -> Metric {
    let (buckets, count, sum) = deployment.record.figures.latency.histogram();
    let bucket = |(bound, count): (u64, u64)| {
        let mut bucket = proto::Bucket::default();
        bucket.set_upper_bound(bound as f64 / 1e3);
        bucket.set_cumulative_count(count);
        bucket
    };
    let mut histogram = proto::Histogram::default();
    histogram.set_bucket(BOUNDS.into_iter().zip(buckets).map(bucket).collect());
    histogram.set_sample_count(count);
    histogram.set_sample_sum(sum.as_secs_f64());
    let mut metric = labeled(deployment, &[]);
    metric.set_histogram(histogram);
    metric
}

fn labeled(deployment: &Deployment, labels: &[(&str, &str)]) -> Metric {
    let own = [("deployment", &*deployment.id), ("provider", &*deployment.provider_name)];
    let pairs = own.into_iter().chain(labels.iter().copied()).map(|(name, value)| {
        let mut pair = LabelPair::default();
        pair.set_name(name.to_owned());
        pair.set_value(value.to_owned());
        pair
    });
    let mut metric = Metric::default();
    metric.set_label(pairs.collect());
    metric
}
