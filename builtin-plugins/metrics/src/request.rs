//! The figures of one request, as read when it is over.

use std::time::Duration;

use llmux_abi::{Completion, Context, Ending, Usage};

/// How a request ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RequestOutcome {
    /// With a response, or the end of its stream.
    Success,
    /// With an error of this type, as `rate_limit_exceeded`.
    Failure(String),
    /// The client went away.
    Cancelled,
}

impl RequestOutcome {
    /// `success`, the error's type, or `cancelled`.
    pub fn as_str(&self) -> &str {
        match self {
            RequestOutcome::Success => "success",
            RequestOutcome::Failure(kind) => kind,
            RequestOutcome::Cancelled => "cancelled",
        }
    }
}

/// One request of a client, fallback attempts included.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct RequestMetrics {
    /// The request's id.
    pub request_id: String,
    /// As `chat/completions`.
    pub endpoint: String,
    /// The model that the request named in the end.
    pub model: String,
    /// The provider chosen in the end; `None` when no plugin let the request get that far.
    pub provider: Option<String>,
    /// The id of the API key.
    pub key_id: Option<String>,
    /// The user that the key belongs to.
    pub user: Option<String>,
    /// The team that the key belongs to.
    pub team: Option<String>,
    /// The last attempt, from 1.
    pub attempt: u32,
    /// Did it stream?
    pub is_streaming: bool,
    /// How it ended.
    pub outcome: RequestOutcome,
    /// The HTTP status.
    pub status: u16,
    /// From arrival to end.
    pub latency: Duration,
    /// From arrival to the first chunk; streams only.
    pub first_token: Option<Duration>,
    /// The tokens that the answer names. From a cache, those of the request that it was made for.
    pub usage: Option<Usage>,
    /// Was it answered from a cache?
    pub cache_hit: bool,
    /// Did a rate limit refuse it?
    pub rate_limited: bool,
}

impl RequestMetrics {
    pub(crate) fn of(ctx: &Context<'_>, completion: &Completion<'_>) -> Self {
        let owned = |text: Option<&str>| text.map(str::to_owned);
        let outcome = match completion.ending() {
            Ending::Completed => RequestOutcome::Success,
            Ending::Cancelled => RequestOutcome::Cancelled,
            Ending::Failed(error) if error.error_type().is_empty() => {
                RequestOutcome::Failure("error".to_owned())
            }
            Ending::Failed(error) => RequestOutcome::Failure(error.error_type().to_owned()),
        };
        Self {
            request_id: ctx.request_id().to_owned(),
            endpoint: ctx.endpoint().to_owned(),
            model: ctx.model().to_owned(),
            provider: owned(ctx.provider()),
            key_id: owned(ctx.key_id()),
            user: owned(ctx.user()),
            team: owned(ctx.team()),
            attempt: ctx.attempt(),
            is_streaming: ctx.is_streaming(),
            outcome,
            status: completion.status(),
            latency: completion.latency(),
            first_token: completion.first_chunk(),
            usage: completion.usage(),
            cache_hit: ctx.get_bool("cache_hit").unwrap_or(false),
            rate_limited: ctx.get_bool("rate_limited").unwrap_or(false),
        }
    }

    /// The tokens that this request used: none for an answer from a cache.
    pub fn tokens_used(&self) -> Option<Usage> {
        self.usage.filter(|_| !self.cache_hit)
    }

    /// Tokens of the answer per second: of a stream, from the first chunk on. `None` where that says
    /// nothing: no usage, no time, an answer from a cache, an answer that did not complete.
    pub fn tokens_per_second(&self) -> Option<f64> {
        let tokens = self.tokens_used()?.completion_tokens;
        let time = self.latency.saturating_sub(self.first_token.unwrap_or_default()).as_secs_f64();
        (self.outcome == RequestOutcome::Success && tokens > 0 && time > 0.0).then(|| tokens as f64 / time)
    }
}

#[cfg(test)]
pub(crate) mod testing {
    //! A request for the tests of other modules.

    use super::*;

    pub(crate) fn request(model: &str, outcome: RequestOutcome, millis: u64) -> RequestMetrics {
        RequestMetrics {
            request_id: "r".to_owned(),
            endpoint: "chat/completions".to_owned(),
            model: model.to_owned(),
            provider: Some("p".to_owned()),
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
        one.cache_hit = true;
        assert_eq!((one.tokens_per_second(), one.tokens_used()), (None, None));
        assert_eq!(request("m", RequestOutcome::Cancelled, 2_000).tokens_per_second(), None);
        assert_eq!(request("m", RequestOutcome::Success, 0).tokens_per_second(), None);
    }
}
