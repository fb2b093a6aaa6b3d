//! The upstream of a client: tries the deployments of a model in turn, each as often as [`RetryConfig`] allows.

use futures_util::future::BoxFuture;

use super::{
    body,
    call::{Upstream, UpstreamCall},
    deployment::Deployments,
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
            for retry in 0.. {
                let headers = headers.to_vec();
                let call = Call { endpoint, body: body.clone(), request_id: request_id.clone(), headers };
                let answered = cancel.guard(send(&*deployment.provider, call)).await?;
                let error = match answered {
                    Ok(answer) => return Ok(answer),
                    Err(error) if error.is_retryable() => error,
                    Err(error) => return Err(error),
                };
                tracing::debug!(
                    request_id = &**request_id,
                    deployment = &*deployment.id,
                    tried = retry + 1,
                    "{error}"
                );
                let delay = self.retry.delay(retry, &error);
                last = Some(error);
                let Some(delay) = delay else { break };
                // Boxed, so that a call without a retry has no timer in its future.
                cancel.guard(Box::pin(tokio::time::sleep(delay))).await?;
            }
        }
        Err(last.unwrap_or_else(|| Error::model_not_found(model)))
    }
}
