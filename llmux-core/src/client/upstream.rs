//! One call of a provider: the right deployment, the right body, and another try where that may help
//! (rule F1). Called by the pipeline between the pre and the post chain; hooks do not rerun.

use std::{future::Future, time::Duration};

use futures_util::future::BoxFuture;

use super::Upstreams;
use crate::{
    document::Document,
    error::{Error, ErrorKind},
    pipeline::{InFlight, chain::cancelled},
    provider::{Call, Events, Provider},
};

/// How often and how patiently a deployment is tried again.
#[derive(Clone, Debug)]
pub struct RetryConfig {
    /// How many more tries each deployment gets. Default 2.
    pub max_retries: u32,
    /// The wait before the first of them, doubled for each that follows. Default 250 ms.
    pub initial_backoff: Duration,
    /// The longest wait; a provider that asks for a longer one (`retry-after`) is not tried again. Default 8 s.
    pub max_backoff: Duration,
}

impl Default for RetryConfig {
    fn default() -> Self {
        Self {
            max_retries: 2,
            initial_backoff: Duration::from_millis(250),
            max_backoff: Duration::from_secs(8),
        }
    }
}

impl RetryConfig {
    /// How long to wait before the next try, or `None` for no more of them here.
    fn wait(&self, retry: u32, error: &Error) -> Option<Duration> {
        if retry >= self.max_retries {
            return None;
        }
        if let Some(asked) = error.retry_after() {
            return (asked <= self.max_backoff).then_some(asked);
        }
        let backoff = self.initial_backoff.saturating_mul(1 << retry.min(16)).min(self.max_backoff);
        // Between half and the whole of it, so that clients do not come back together.
        Some(backoff.mul_f64(0.5 + fastrand::f64() / 2.0))
    }
}

/// Sends a request and waits for the response.
pub(crate) async fn send(request: &mut InFlight) -> Result<Document, Error> {
    try_deployments(request, false, |provider, call| provider.send(call)).await
}

/// Sends a request whose response streams.
pub(crate) async fn stream(request: &mut InFlight) -> Result<Events, Error> {
    try_deployments(request, true, |provider, call| provider.stream(call)).await
}

async fn try_deployments<T>(
    request: &mut InFlight,
    streams: bool,
    send: impl for<'p> Fn(&'p dyn Provider, Call) -> BoxFuture<'p, Result<T, Error>>,
) -> Result<T, Error> {
    let shared = request.shared.clone();
    let Upstreams { routes, retry, .. } = &shared.upstreams;
    let Some(route) = routes.route(&request.context.model) else {
        return Err(Error::model_not_found(&request.context.model));
    };
    let mut last = None;
    for deployment in route {
        request.context.deployment = Some(deployment.clone());
        let document =
            body(request, &deployment.upstream_model, streams && deployment.provider.stream_usage())?;
        let body = document.to_bytes();
        request.upstream_body = Some(document);
        for tried in 0.. {
            let call = Call {
                endpoint: request.context.endpoint,
                body: body.clone(),
                request_id: request.context.request_id.clone(),
            };
            let sent = unless_cancelled(request, send(&*deployment.provider, call)).await?;
            let error = match sent {
                Ok(answer) => return Ok(answer),
                Err(error) if error.is_retryable() => error,
                Err(error) => return Err(error),
            };
            tracing::debug!(
                request_id = &*request.context.request_id,
                deployment = &*deployment.id,
                tried = tried + 1,
                "{error}"
            );
            let wait = retry.wait(tried, &error);
            last = Some(error);
            match wait {
                Some(wait) => unless_cancelled(request, tokio::time::sleep(wait)).await?,
                None => break,
            }
        }
    }
    Err(last.unwrap_or_else(|| Error::model_not_found(&request.context.model)))
}

async fn unless_cancelled<F: Future>(request: &InFlight, future: F) -> Result<F::Output, Error> {
    request.cancel.guard(future).await.ok_or_else(cancelled)
}

/// The body for a deployment: what the plugins made of it, with the model's name there, and with the usage
/// asked for (rule S8). Untouched where neither changes anything.
fn body(request: &InFlight, upstream_model: &str, ask_usage: bool) -> Result<Document, Error> {
    let document = request.body.document();
    let mut document = document.cloned().ok_or_else(|| Error::new(ErrorKind::InvalidRequest, "no JSON"))?;
    let edited = (|| {
        if document.get_str("/model") != Some(upstream_model) {
            document.set("/model", &serde_json::json!(upstream_model).to_string())?;
        }
        if ask_usage
            && request.context.endpoint.ends_with_done()
            && document.get("/stream_options/include_usage") != Some("true")
        {
            match document.len("/stream_options") {
                Some(_) => document.set("/stream_options/include_usage", "true")?,
                None => document.set("/stream_options", r#"{"include_usage":true}"#)?,
            }
        }
        Ok::<_, crate::document::EditError>(())
    })();
    edited.map_err(|error| Error::new(ErrorKind::InvalidRequest, error))?;
    Ok(document)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn f1_the_wait_doubles_up_to_its_bound_and_honors_retry_after() {
        let config = RetryConfig { max_retries: 10, ..RetryConfig::default() };
        let error = Error::new(ErrorKind::Connect, "no");
        for (retry, most) in [(0, 250), (1, 500), (2, 1000), (9, 8000)] {
            let wait = config.wait(retry, &error).expect("another try").as_millis();
            assert!(wait >= most / 2 && wait <= most, "{retry}: {wait}");
        }
        assert_eq!(config.wait(10, &error), None);
        let asks = |seconds| {
            let after = Some(Duration::from_secs(seconds));
            Error::from_parts(ErrorKind::Provider, 429, serde_json::json!({"message": "slow down"}), after)
        };
        assert_eq!(config.wait(0, &asks(3)), Some(Duration::from_secs(3)));
        assert_eq!(config.wait(0, &asks(60)), None, "longer than we wait");
    }
}
