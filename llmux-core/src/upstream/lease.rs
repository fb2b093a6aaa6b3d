//! One request at one deployment: counted while it is in flight, and recorded once at its end.
//!
//! `router` begins it. The pipeline holds it while a stream lasts, and reports its end. Deliberately absent: the decision
//! whether the request is sent again.

use std::sync::{Arc, atomic::Ordering::Relaxed};

use tokio::time::Instant;

use super::{
    deployment::{Deployment, Record},
    failure::{DeploymentFailure, Effect},
    health::{self, Change, Turn},
};
use crate::{error::Error, provider::excerpt};

/// A request at a deployment. When it is dropped, the request is no longer in flight there.
pub(crate) struct Lease {
    deployment: Arc<Deployment>,
    turn: Turn,
    /// Start of the current try.
    started: Instant,
    /// A hash of the id of the client's key; `None` if no keys are configured.
    client: Option<u64>,
    can_rest: bool,
    settled: bool,
}

impl Lease {
    /// Begins a request. With `can_rest` false, the model has no other deployment.
    pub(super) fn begin(
        deployment: &Arc<Deployment>,
        turn: Turn,
        client: Option<&str>,
        can_rest: bool,
    ) -> Self {
        deployment.record.figures.in_flight.fetch_add(1, Relaxed);
        let client = client.map(health::client);
        let (deployment, started) = (deployment.clone(), Instant::now());
        Self { deployment, turn, started, client, can_rest, settled: false }
    }

    fn record(&self) -> &Record {
        &self.deployment.record
    }

    /// Begins a try.
    pub(super) fn begin_try(&mut self) {
        self.record().figures.tries.fetch_add(1, Relaxed);
        self.started = Instant::now();
    }

    /// Ends a try that failed.
    pub(super) fn end_try(&self, error: &Error) {
        if let Some(failure) = DeploymentFailure::of(error) {
            self.record().figures.count(failure);
        }
    }

    /// Records an answer, or the first chunk of a stream.
    pub(super) fn answered(&mut self, streams: bool) {
        self.record().figures.latency.record(self.started.elapsed(), streams);
        // The end of a stream decides, but others need not wait for it after a rest.
        if !streams || self.turn != Turn::Usual {
            self.settle(Effect::Works);
        }
    }

    /// Records the failure of the request after its retries. A failure that is not recorded tells nothing about the
    /// deployment.
    pub(super) fn failed(&mut self, error: &Error) {
        self.settle(Effect::of(error));
    }

    /// Records the end of an answer: 200, or the status of the error that ended a stream.
    pub(crate) fn end(mut self, status: u16, request_id: &str) {
        let broken = DeploymentFailure::of_status(status);
        if let Some(failure) = broken {
            self.record().figures.count(failure);
            if let Some(unlogged) = self.record().figures.may_log(failure) {
                let Deployment { provider_name, id, .. } = &*self.deployment;
                tracing::warn!(
                    request_id,
                    provider = &**provider_name,
                    deployment = &**id,
                    failure = failure.as_str(),
                    unlogged = (unlogged > 0).then_some(unlogged),
                    "a stream of provider `{provider_name}` broke off with status {status}"
                );
            }
        }
        if !self.settled {
            self.settle(broken.map_or(Effect::Works, Effect::from));
        }
    }

    fn settle(&mut self, effect: Effect) {
        let change = self.record().health.settle(effect, self.turn, self.client, self.can_rest);
        self.settled = true;
        let Deployment { provider_name, id, .. } = &*self.deployment;
        match change {
            Some(Change::Rests(length)) => tracing::warn!(
                provider = &**provider_name,
                deployment = &**id,
                "the deployment `{id}` failed and rests for {length:?}"
            ),
            Some(Change::Recovered) => tracing::info!(
                provider = &**provider_name,
                deployment = &**id,
                "the deployment `{id}` answers again"
            ),
            None => {}
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.record().figures.in_flight.fetch_sub(1, Relaxed);
        if !self.settled && self.turn == Turn::Probe {
            self.record().health.abandon();
        }
    }
}

/// Logs the failure of a request at a deployment, now and then, and counts the failover if there is a `next` deployment.
pub(super) fn report(failed: &Deployment, error: &Error, next: Option<&Deployment>, request_id: &str) {
    let figures = &failed.record.figures;
    if next.is_some() {
        figures.failovers.fetch_add(1, Relaxed);
    }
    let Some(failure) = DeploymentFailure::of(error) else { return };
    let Some(unlogged) = figures.may_log(failure) else { return };
    tracing::warn!(
        request_id,
        provider = &*failed.provider_name,
        deployment = &*failed.id,
        failure = failure.as_str(),
        status = error.first_status(),
        next = next.map(|next| &*next.id),
        unlogged = (unlogged > 0).then_some(unlogged),
        "provider `{}` failed: {}",
        failed.provider_name,
        excerpt(error.message())
    );
}
