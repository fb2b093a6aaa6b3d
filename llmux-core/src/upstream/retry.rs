//! The number of retries and the delays before them (rule F1).
//!
//! `router` asks it. Deliberately absent: whether a failure is retried at all, which `resend` decides.

use std::time::Duration;

use crate::{error::Error, setters::setters};

/// The number of retries of each deployment, and the delays before them.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct RetryConfig {
    /// Further tries of each deployment after the first one. Default 2.
    pub max_retries: u32,
    /// Delay before the first retry; it doubles for each further one. Default 250 ms.
    pub initial_backoff: Duration,
    /// Longest delay. If a provider asks for a longer one (`retry-after`), it is not tried again. Default 8 s.
    pub max_backoff: Duration,
    /// Whether to retry also if the provider may have processed the request: after a timeout or a reset that came after the
    /// request was sent. The provider may then bill it twice. Default: false.
    pub sent: bool,
    /// The failures after which another deployment, or a fallback model, is tried (rule F6).
    pub other_deployment: OtherDeployment,
    /// Time limit for all tries of a request together, fallback models included. It counts from the arrival of the request,
    /// and ends with the first chunk of a stream. Default 600 s.
    pub deadline: Duration,
}

/// The failures after which a request is tried elsewhere (rule F6).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum OtherDeployment {
    /// Every failure that is the provider's.
    #[default]
    Failed,
    /// Failures after which the request was certainly not processed: there was no connection, or the provider refused the
    /// request with 401, 402, 403, 404 or 429.
    Unsent,
}

impl Default for RetryConfig {
    fn default() -> Self {
        Self {
            max_retries: 2,
            initial_backoff: Duration::from_millis(250),
            max_backoff: Duration::from_secs(8),
            sent: false,
            other_deployment: OtherDeployment::default(),
            deadline: Duration::from_secs(600),
        }
    }
}

setters! { RetryConfig:
    /// Sets the number of further tries.
    with_max_retries: max_retries: u32;
    /// Sets the delay before the first retry.
    with_initial_backoff: initial_backoff: Duration;
    /// Sets the longest delay.
    with_max_backoff: max_backoff: Duration;
    /// Sets whether to retry also if the provider may have processed the request.
    with_sent: sent: bool;
    /// Sets the failures after which another deployment is tried.
    with_other_deployment: other_deployment: OtherDeployment;
    /// Sets the time limit for all tries of a request.
    with_deadline: deadline: Duration;
}

impl RetryConfig {
    /// Returns the delay before the next retry after this error; `None` if there is no further retry.
    pub(super) fn delay(&self, retry: u32, error: &Error) -> Option<Duration> {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;

    #[test]
    fn f1_the_delay_doubles_up_to_its_bound_and_honors_retry_after() {
        let config = RetryConfig { max_retries: 10, ..RetryConfig::default() };
        let error = Error::new(ErrorKind::Connect, "no");
        for (retry, most) in [(0, 250), (1, 500), (2, 1000), (9, 8000)] {
            let delay = config.delay(retry, &error).expect("another retry").as_millis();
            assert!(delay >= most / 2 && delay <= most, "{retry}: {delay}");
        }
        assert_eq!(config.delay(10, &error), None);
        let asks = |seconds| {
            let after = Some(Duration::from_secs(seconds));
            Error::from_parts(ErrorKind::Provider, 429, serde_json::json!({"message": "slow down"}), after)
        };
        assert_eq!(config.delay(0, &asks(3)), Some(Duration::from_secs(3)));
        assert_eq!(config.delay(0, &asks(60)), None, "longer than the client waits");
    }
}
