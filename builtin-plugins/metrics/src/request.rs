//! The figures of one request, read once when the request is over.
//!
//! Made in `on_complete` and passed to `labels`, `stats`, `export` and the host's closure.

use std::time::Duration;

use llmux_abi::{AnsweredBy, Completion, Context, Ending, Usage};

/// The label value of names beyond the bound, and of models whose names clients choose.
pub(crate) const OTHER: &str = "other";

/// The end of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RequestOutcome {
    /// The request ended with a response, or its stream ended normally.
    Success,
    /// The request ended with an error of this type, as `rate_limit_exceeded`.
    Failure(String),
    /// The client disconnected.
    Cancelled,
}

impl RequestOutcome {
    /// Returns `success`, `cancelled`, or the type of the error.
    pub fn as_str(&self) -> &str {
        match self {
            RequestOutcome::Success => "success",
            RequestOutcome::Failure(kind) => kind,
            RequestOutcome::Cancelled => "cancelled",
        }
    }
}

/// The figures of one request of a client, fallback attempts included.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct RequestMetrics<'a> {
    /// The id of the request.
    pub request_id: &'a str,
    /// The endpoint, as `chat/completions`.
    pub endpoint: &'a str,
    /// The model that the request named at the last attempt.
    pub model: &'a str,
    /// The provider of the last attempt. `None` if that attempt called no provider.
    pub provider: Option<&'a str>,
    /// The id of the API key.
    pub key_id: Option<&'a str>,
    /// The user that the key belongs to.
    pub user: Option<&'a str>,
    /// The team that the key belongs to.
    pub team: Option<&'a str>,
    /// The number of the last attempt, from 1.
    pub attempt: u32,
    /// True if the request was a streaming request.
    pub is_streaming: bool,
    /// The end of the request.
    pub outcome: RequestOutcome,
    /// The HTTP status.
    pub status: u16,
    /// The time from arrival to end.
    pub latency: Duration,
    /// The time from arrival to the first chunk; streams only.
    pub first_token: Option<Duration>,
    /// The tokens that this request used, as providers reported them or as the host estimates them. `None` for an answer
    /// from a cache.
    pub usage: Option<Usage>,
    /// True if the answer came from a cache.
    pub cache_hit: bool,
    /// True if a rate limit refused the request.
    pub rate_limited: bool,
}

impl<'a> RequestMetrics<'a> {
    pub(crate) fn of(ctx: &'a Context<'_>, completion: &Completion<'_>) -> Self {
        let outcome = match completion.ending() {
            Ending::Completed => RequestOutcome::Success,
            Ending::Cancelled => RequestOutcome::Cancelled,
            Ending::Failed(error) if error.error_type().is_empty() => {
                RequestOutcome::Failure("error".to_owned())
            }
            Ending::Failed(error) => RequestOutcome::Failure(error.error_type().to_owned()),
        };
        Self {
            request_id: ctx.request_id(),
            endpoint: ctx.endpoint(),
            // Clients choose the names that a provider of every model serves.
            model: match ctx.deployment() {
                Some(deployment) if deployment.ends_with("/*") => OTHER,
                _ => ctx.model(),
            },
            provider: ctx.provider(),
            key_id: ctx.key_id(),
            user: ctx.user(),
            team: ctx.team(),
            attempt: ctx.attempt(),
            is_streaming: ctx.is_streaming(),
            outcome,
            status: completion.status(),
            latency: completion.latency(),
            first_token: completion.first_chunk(),
            usage: completion.usage(),
            cache_hit: matches!(completion.answered_by(), AnsweredBy::Cache(_)),
            rate_limited: ctx.get_bool("rate_limited").unwrap_or(false),
        }
    }

    /// Returns the tokens of the answer per second; for a stream, measured from the first chunk. `None` without
    /// usage, for a duration of zero, and for a request that did not succeed.
    pub fn tokens_per_second(&self) -> Option<f64> {
        let tokens = self.usage?.completion_tokens;
        let time = self.latency.saturating_sub(self.first_token.unwrap_or_default()).as_secs_f64();
        (self.outcome == RequestOutcome::Success && tokens > 0 && time > 0.0).then(|| tokens as f64 / time)
    }
}

#[cfg(test)]
pub(crate) mod testing {
    //! The figures of a request, for the tests of other modules.

    use super::*;

    pub(crate) fn request(model: &str, outcome: RequestOutcome, millis: u64) -> RequestMetrics<'_> {
        RequestMetrics {
            request_id: "r",
            endpoint: "chat/completions",
            model,
            provider: Some("p"),
            key_id: None,
            user: None,
            team: None,
            attempt: 1,
            is_streaming: true,
            outcome,
            status: 200,
            latency: Duration::from_millis(millis),
            first_token: Some(Duration::from_millis(millis / 2)),
            usage: Some(Usage::new(3, 10)),
            cache_hit: false,
            rate_limited: false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{testing::request, *};

    #[test]
    fn speed_is_measured_from_the_first_token_of_a_whole_answer() {
        let mut one = request("m", RequestOutcome::Success, 2_000);
        assert_eq!(one.tokens_per_second(), Some(10.0));
        one.first_token = None;
        assert_eq!(one.tokens_per_second(), Some(5.0));
        one.usage = None;
        assert_eq!(one.tokens_per_second(), None);
        assert_eq!(request("m", RequestOutcome::Cancelled, 2_000).tokens_per_second(), None);
        assert_eq!(request("m", RequestOutcome::Success, 0).tokens_per_second(), None);
    }
}
