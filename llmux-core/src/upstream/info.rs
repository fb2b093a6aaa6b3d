//! The list of deployments that an operator sees.
//!
//! `Client::deployments` returns it, and the metrics are made of it.

use std::{
    collections::BTreeMap,
    sync::{Arc, atomic::Ordering::Relaxed},
};

use serde::Serialize;
use tokio::time::Instant;

use super::{
    any_model::{ANY, AnyModels},
    deployment::{Deployment, Deployments},
    figures::BOUNDS,
    health::DeploymentState,
};

/// A deployment: its state, and its figures since the start of the host or since its provider's settings changed.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct DeploymentInfo {
    /// `provider/model`, with the model's name at the provider.
    pub deployment: String,
    /// Name of the provider.
    pub provider: String,
    /// Models that it serves.
    pub models: Vec<DeploymentModel>,
    /// State of the deployment.
    pub state: DeploymentState,
    /// Seconds until the end of its rest; `None` while it does not rest.
    pub rests_for_seconds: Option<f64>,
    /// Requests in a row that failed.
    pub failures_in_a_row: u64,
    /// Tries, retries included.
    pub tries: u64,
    /// Failed tries of each kind that has occurred.
    pub failures: BTreeMap<&'static str, u64>,
    /// Requests that failed here and went on to another deployment.
    pub failovers: u64,
    /// Requests that it handles now, streams included.
    pub in_flight: u64,
    /// Times to an answer, or to the first chunk of a stream.
    pub latency: LatencyInfo,
}

/// A model that a deployment serves.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct DeploymentModel {
    /// The name that requests use.
    pub model: String,
    /// Share of the load among the deployments of the same order.
    pub weight: u32,
    /// Place in the order of the deployments of the model.
    pub order: u32,
}

/// Times of successful tries.
#[derive(Clone, Debug, Default, Serialize)]
#[non_exhaustive]
pub struct LatencyInfo {
    /// Number of successful tries.
    pub count: u64,
    /// Their mean, in milliseconds; `None` without any.
    pub mean_ms: Option<f64>,
    /// Upper bound of the bucket that holds the 50th percentile, in milliseconds; `None` without any, or above 600 s.
    pub p50_ms: Option<u64>,
    /// Upper bound of the bucket that holds the 99th percentile, in milliseconds; `None` without any, or above 600 s.
    pub p99_ms: Option<u64>,
}

/// Returns each deployment with its models, in the order of the configuration.
pub(super) fn distinct<'d>(
    deployments: &'d Deployments,
    any: &'d AnyModels,
) -> Vec<(&'d Arc<Deployment>, Vec<DeploymentModel>)> {
    let mut found: Vec<(&Arc<Deployment>, Vec<DeploymentModel>)> = Vec::new();
    let named =
        deployments.all().flat_map(|(model, members)| members.iter().map(move |member| (model, member)));
    let every = any.all().map(|member| (ANY, member));
    for (model, member) in named.chain(every) {
        let of = DeploymentModel { model: model.to_owned(), weight: member.weight, order: member.order };
        match found.iter_mut().find(|(known, _)| known.id == member.deployment.id) {
            Some((_, models)) => models.push(of),
            None => found.push((&member.deployment, vec![of])),
        }
    }
    found
}

/// Returns the list of deployments that an operator sees.
pub(super) fn infos(deployments: &Deployments, any: &AnyModels) -> Vec<DeploymentInfo> {
    let now = Instant::now();
    let distinct = distinct(deployments, any).into_iter();
    distinct.map(|(deployment, models)| info(deployment, models, now)).collect()
}

fn info(deployment: &Deployment, models: Vec<DeploymentModel>, now: Instant) -> DeploymentInfo {
    let (health, figures) = (&deployment.record.health, &deployment.record.figures);
    let (buckets, count, sum) = figures.latency.histogram();
    let percentile = |percent: u64| {
        let rank = (count * percent).div_ceil(100).max(1);
        let bucket = buckets.iter().position(|below| *below >= rank)?;
        BOUNDS.get(bucket).copied()
    };
    let mean = (count > 0).then(|| (sum.as_secs_f64() * 1e6 / count as f64).round() / 1e3);
    DeploymentInfo {
        deployment: deployment.id.to_string(),
        provider: deployment.provider_name.to_string(),
        models,
        state: health.state(now),
        rests_for_seconds: health.rests_for(now).map(|rest| rest.as_secs_f64()),
        failures_in_a_row: health.failures_in_a_row(),
        tries: figures.tries.load(Relaxed),
        failures: figures.failures().filter(|(_, count)| *count > 0).collect(),
        failovers: figures.failovers.load(Relaxed),
        in_flight: figures.in_flight.load(Relaxed),
        latency: LatencyInfo { count, mean_ms: mean, p50_ms: percentile(50), p99_ms: percentile(99) },
    }
}
