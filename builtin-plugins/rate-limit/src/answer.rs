//! What a client is told: the headers of every response, and the refusal.

use std::{fmt::Write, time::Duration};

use llmux_abi::{Context, Error, ShortCircuit};

/// What a limiter says about one request.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Decision {
    /// Requests that may follow at once.
    pub(crate) remaining: u32,
    /// Until the bucket is full again.
    pub(crate) reset: Duration,
    /// Why the request may not go on, if it may not.
    pub(crate) refused: Option<Refusal>,
}

/// A limit that is reached.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Refusal {
    pub(crate) what: Limit,
    /// Until a request may go on.
    pub(crate) retry_after: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Limit {
    Requests,
    Tokens,
}

/// Sets the headers that OpenAI's clients know.
pub(crate) fn set_headers(ctx: &mut Context<'_>, limit: &str, decision: &Decision) {
    // One text for both values that change.
    let mut text = String::with_capacity(32);
    let _ = write!(text, "{}", decision.remaining);
    let split = text.len();
    push_duration(&mut text, decision.reset);
    let (remaining, reset) = text.split_at(split);
    // A host that does not take a header is no reason to let a request go on, or to stop it.
    let _ = ctx.set_response_header("x-ratelimit-limit-requests", limit);
    let _ = ctx.set_response_header("x-ratelimit-remaining-requests", remaining);
    let _ = ctx.set_response_header("x-ratelimit-reset-requests", reset);
}

/// The answer to a request over the limit. `key` is told to other plugins, not to the client.
pub(crate) fn refuse(Refusal { what, retry_after }: Refusal, key: String) -> ShortCircuit {
    let mut message = String::with_capacity(64);
    message.push_str(match what {
        Limit::Requests => "rate limit exceeded, try again in ",
        Limit::Tokens => "token limit exceeded, try again in ",
    });
    push_duration(&mut message, retry_after);
    let error = Error::rate_limited(message).retry_after(retry_after.as_secs_f64());
    ShortCircuit::reject(error)
        .allow_fallback(false)
        .metadata("rate_limited", true)
        .metadata("limit_key", key)
}

/// The answer while nobody can decide.
pub(crate) fn unavailable() -> ShortCircuit {
    let error = Error::unavailable("the rate limit cannot be checked now").retry_after(1.0);
    ShortCircuit::reject(error).allow_fallback(false)
}

/// Appends a duration as OpenAI writes it: `120ms`, `1s`, `1.5s`, `6m0s`, `1h0m30s`. Milliseconds, rounded up.
fn push_duration(text: &mut String, duration: Duration) {
    let millis = duration.as_nanos().div_ceil(1_000_000);
    let (seconds, part) = (millis / 1_000, millis % 1_000);
    let (hours, minutes, seconds_left) = (seconds / 3_600, seconds / 60 % 60, seconds % 60);
    let _ = match () {
        () if hours > 0 => write!(text, "{hours}h{minutes}m{seconds_left}s"),
        () if minutes > 0 => write!(text, "{minutes}m{seconds_left}s"),
        () if seconds == 0 => write!(text, "{part}ms"),
        () if part == 0 => write!(text, "{seconds}s"),
        () => {
            let fraction = format!("{part:03}");
            write!(text, "{seconds}.{}s", fraction.trim_end_matches('0'))
        }
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_read_as_openai_writes_them() {
        for (millis, expected) in [
            (0, "0ms"),
            (120, "120ms"),
            (1_000, "1s"),
            (1_500, "1.5s"),
            (1_050, "1.05s"),
            (59_999, "59.999s"),
            (360_000, "6m0s"),
            (3_630_000, "1h0m30s"),
        ] {
            let mut text = String::new();
            push_duration(&mut text, Duration::from_millis(millis));
            assert_eq!(text, expected);
        }
        let mut text = String::new();
        push_duration(&mut text, Duration::from_nanos(1));
        assert_eq!(text, "1ms", "never before the time");
    }
}
