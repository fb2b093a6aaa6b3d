//! The upstream of a client: tries the deployments of a model in turn, each as often as [`RetryConfig`] allows.

use futures_util::future::BoxFuture;

use super::{
    body,
    call::{Upstream, UpstreamCall},
    deployment::Deployments,
    resend::{self, Resend},
    retry::RetryConfig,
};
use crate::{
    document::Document,
    error::Error,
    provider::{Answer, Call, Events, Provider},
};

/// The deployments of a client, and how they are tried.
#[derive(Debug, Default)]
pub(crate) struct Router {
    pub(crate) deployments: Deployments,
    pub(crate) retry: RetryConfig,
}

impl Upstream for Router {
    fn send<'c>(&'c self, call: UpstreamCall<'c>) -> BoxFuture<'c, Result<Answer<Document>, Error>> {
        Box::pin(self.try_deployments(call, false, |provider, call| provider.send(call)))
    }

    fn stream<'c>(&'c self, call: UpstreamCall<'c>) -> BoxFuture<'c, Result<Answer<Events>, Error>> {
        Box::pin(self.try_deployments(call, true, |provider, call| provider.stream(call)))
    }
}

impl Router {
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
            cancel,
            deployment: chosen,
            sent,
        } = call;
        let mut last = None;
        for deployment in self.deployments.of(model) {
            let ask_usage = streams && deployment.provider.stream_usage();
            let document = body::for_deployment(request, endpoint, &deployment.upstream_model, ask_usage)?;
            *chosen = Some(deployment.clone());
            let body = document.to_bytes();
            *sent = Some(document);
            let (mut retry, mut renewed, mut new_connection) = (0, false, false);
            loop {
                let headers = headers.to_vec();
                let call = Call {
                    endpoint,
                    body: body.clone(),
                    request_id: request_id.clone(),
                    headers,
                    new_connection,
                };
                let answered = cancel.guard(send(&*deployment.provider, call)).await?;
                let error = match answered {
                    Ok(answer) => return Ok(answer),
                    Err(error) => error,
                };
                let next = resend::after(&error, self.retry.sent, renewed);
                if next == Resend::Never {
                    return Err(error);
                }
                tracing::debug!(
                    request_id = &**request_id,
                    deployment = &*deployment.id,
                    tried = retry + 1,
                    next = ?next,
                    "{error}"
                );
                let delay = self.retry.delay(retry, &error);
                last = Some(error);
                new_connection = next == Resend::NewConnection;
                if new_connection {
                    renewed = true;
                    continue;
                }
                let Some(delay) = delay.filter(|_| next == Resend::Retry) else { break };
                retry += 1;
                // Boxed, so that a call without a retry has no timer in its future.
                cancel.guard(Box::pin(tokio::time::sleep(delay))).await?;
            }
        }
        Err(last.unwrap_or_else(|| Error::model_not_found(model)))
    }
}
