//! The upstream of a client: tries the deployments of a model in turn, each as often as [`RetryConfig`] allows.

use std::{
    pin::pin,
    sync::{Arc, atomic::Ordering::Relaxed},
};

use futures_util::future::BoxFuture;
use prometheus::proto::MetricFamily;
use tokio::time::{Instant, timeout_at};

use super::{
    any_model::{ANY, AnyModels},
    body,
    call::{Upstream, UpstreamCall},
    client_error::for_client,
    deployment::{Added, Deployment, Deployments},
    info::{self, DeploymentInfo},
    lease::{self, Lease},
    metrics, pinned,
    resend::{self, Resend},
    retry::RetryConfig,
    selection::{RoutingStrategy, Selection},
};
use crate::{
    document::Document,
    error::{Error, ErrorKind},
    provider::{Answer, Binary, Call, Events, Provider},
};

/// The deployments of a client, and how they are tried.
#[derive(Debug, Default)]
pub(crate) struct Router {
    pub(crate) deployments: Deployments,
    /// The providers of names that `deployments` does not have.
    any: AnyModels,
    pub(super) strategy: RoutingStrategy,
    retry: RetryConfig,
}

impl Upstream for Router {
    fn send<'c>(&'c self, call: UpstreamCall<'c>) -> BoxFuture<'c, Result<Answer<Document>, Error>> {
        Box::pin(self.try_deployments(call, false, |provider, call| provider.send(call)))
    }

    fn stream<'c>(&'c self, call: UpstreamCall<'c>) -> BoxFuture<'c, Result<Answer<Events>, Error>> {
        Box::pin(self.try_deployments(call, true, |provider, call| provider.stream(call)))
    }

    fn binary<'c>(&'c self, call: UpstreamCall<'c>) -> BoxFuture<'c, Result<Answer<Binary>, Error>> {
        Box::pin(self.try_deployments(call, false, |provider, call| provider.binary(call)))
    }

    fn allows_fallback(&self, error: &Error, started: Instant) -> bool {
        resend::fallback(error, self.retry.other_deployment) && started.elapsed() < self.retry.deadline
    }
}

impl Router {
    /// Makes a router. Deployments whose provider is the same object as in `previous` keep their health and figures.
    pub(crate) fn new(
        added: Vec<Added>,
        strategy: RoutingStrategy,
        retry: RetryConfig,
        previous: Option<&Self>,
    ) -> Self {
        let (any, named) = added.into_iter().partition(|added: &Added| added.config.model == ANY);
        let deployments = Deployments::new(named, previous.map(|router| &router.deployments));
        let any = AnyModels::new(any, previous.map(|router| &router.any));
        Self { deployments, any, strategy, retry }
    }

    /// Returns true if a provider serves every model.
    pub(crate) fn serves_any(&self) -> bool {
        self.any.all().next().is_some()
    }

    /// Returns a model that a deployment serves; `None` if the deployment is gone.
    pub(crate) fn model_of(&self, deployment: &str) -> Option<String> {
        pinned::find(&self.deployments, &self.any, deployment).map(|(model, _)| model.to_owned())
    }

    /// Returns true if the provider of a deployment also serves this model.
    pub(crate) fn serves_beside(&self, deployment: &str, model: &str) -> bool {
        let home = pinned::find(&self.deployments, &self.any, deployment);
        let beside = |home: Arc<Deployment>| {
            pinned::at_provider(&self.deployments, &self.any, model, &home.provider_name)
        };
        home.and_then(|(_, home)| beside(home)).is_some()
    }

    /// Returns the list of deployments that an operator sees.
    pub(crate) fn infos(&self) -> Vec<DeploymentInfo> {
        info::infos(&self.deployments, &self.any)
    }

    /// Returns the metrics of all deployments, as they are now.
    pub(crate) fn metrics(&self) -> Vec<MetricFamily> {
        metrics::families(&self.deployments, &self.any)
    }

    /// Returns the models that providers list and the configuration does not name, each with its provider.
    pub(crate) async fn listed(&self) -> Vec<(String, Arc<str>)> {
        let listed = self.any.listed().await.into_iter();
        listed.filter(|(model, _)| self.deployments.of(model).is_none()).collect()
    }

    async fn try_deployments<T>(
        &self,
        call: UpstreamCall<'_>,
        streams: bool,
        send: impl for<'p> Fn(&'p dyn Provider, Call) -> BoxFuture<'p, Result<T, Error>>,
    ) -> Result<T, Error> {
        let UpstreamCall {
            endpoint,
            model,
            body: request,
            request_id,
            headers,
            client,
            started,
            client_headers,
            pinned,
            accepted,
            cancel,
            deployment: chosen,
            lease: held,
            sent,
        } = call;
        let own;
        let of_model = match (pinned, self.deployments.of(model)) {
            (Some(pinned), _) => {
                own = pinned::of(&self.deployments, &self.any, model, pinned);
                own.as_ref()
            }
            (None, None) => {
                own = cancel.guard(Box::pin(self.any.of(model))).await?;
                own.as_ref()
            }
            (None, of_model) => of_model,
        };
        let Some(of_model) = of_model else { return Err(Error::model_not_found(model)) };
        let can_rest = of_model.members.len() > 1;
        let deadline = started.checked_add(self.retry.deadline);
        let mut selection = Selection::new(of_model, self.strategy, streams);
        let mut failed: Option<(&Arc<Deployment>, Error)> = None;
        while let Some((deployment, turn)) = selection.next() {
            if let Some((before, error)) = &failed {
                lease::report(before, error, Some(deployment), request_id);
            }
            let mut lease = Lease::begin(deployment, turn, client, can_rest);
            let refuses_usage = &deployment.record.refuses_usage;
            let mut ask_usage = streams && deployment.provider.stream_usage() && !refuses_usage.load(Relaxed);
            let document = body::for_deployment(request, endpoint, &deployment.upstream_model, ask_usage)?;
            *chosen = Some(deployment.clone());
            let mut body = document.to_bytes();
            *sent = Some(document);
            let (mut retry, mut renewed, mut new_connection) = (0, false, false);
            let error = loop {
                let headers = headers.to_vec();
                let call = Call {
                    endpoint,
                    body: body.clone(),
                    request_id: request_id.clone(),
                    headers,
                    client_headers: client_headers.clone(),
                    accepted: accepted.clone(),
                    new_connection,
                };
                lease.begin_try();
                let answer = send(&*deployment.provider, call);
                let answered = match deadline {
                    Some(deadline) => cancel.guard(pin!(timeout_at(deadline, answer))).await?,
                    None => Ok(cancel.guard(answer).await?),
                };
                let error = match answered {
                    Ok(Ok(answer)) => {
                        lease.answered(streams);
                        *held = Some(lease);
                        return Ok(answer);
                    }
                    Ok(Err(error)) => error,
                    Err(_) => {
                        let error = self.past_deadline();
                        lease.end_try(&error);
                        // A deployment that was tried later had less time than its own limits allow.
                        if failed.is_none() {
                            lease.failed(&error);
                        }
                        lease::report(deployment, &error, None, request_id);
                        return Err(error);
                    }
                };
                lease.end_try(&error);
                if ask_usage && body::refuses_usage(request, &error) {
                    tracing::info!(
                        request_id = &**request_id,
                        deployment = &*deployment.id,
                        "the provider refuses `stream_options`, so streams are sent without it; `stream_usage = false` \
                         avoids the first try"
                    );
                    refuses_usage.store(true, Relaxed);
                    ask_usage = false;
                    let document =
                        body::for_deployment(request, endpoint, &deployment.upstream_model, false)?;
                    body = document.to_bytes();
                    *sent = Some(document);
                    continue;
                }
                let next = resend::again(&error, self.retry.sent, renewed);
                tracing::debug!(
                    request_id = &**request_id,
                    deployment = &*deployment.id,
                    tried = retry + 1,
                    next = ?next,
                    "{error}"
                );
                new_connection = next == Resend::NewConnection;
                if new_connection {
                    renewed = true;
                    continue;
                }
                let delay = self.retry.delay(retry, &error).filter(|_| next == Resend::Retry);
                let is_in_time = |delay| deadline.is_none_or(|deadline| Instant::now() + delay < deadline);
                let Some(delay) = delay.filter(|delay| is_in_time(*delay)) else { break error };
                retry += 1;
                // Boxed, so that a call without a retry has no timer in its future.
                cancel.guard(Box::pin(tokio::time::sleep(delay))).await?;
            };
            lease.failed(&error);
            drop(lease);
            let goes_on = resend::elsewhere(&error, self.retry.other_deployment);
            failed = Some((deployment, error));
            if !goes_on {
                break;
            }
        }
        let Some((last, error)) = failed else { return Err(Error::model_not_found(model)) };
        lease::report(last, &error, None, request_id);
        Err(for_client(error))
    }

    fn past_deadline(&self) -> Error {
        let limit = self.retry.deadline;
        let message = format_args!("no provider answered within the deadline of {limit:?} for all tries");
        Error::new(ErrorKind::Timeout, message).with_code("deadline_exceeded")
    }
}
