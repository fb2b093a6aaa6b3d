//! The plugin's answer to a client: the headers of every response, and the refusal.

use std::time::Duration;

use llmux_abi::{Context, Error, ShortCircuit};

/// The decision of a limiter about one request.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Decision {
    /// Number of requests that may follow at once.
    pub(crate) remaining: u32,
    /// Time until the bucket is full again.
    pub(crate) reset: Duration,
    /// The reason for a refusal; `None` if the request may continue.
    pub(crate) refused: Option<Refusal>,
}

/// The refusal of a request: the limit that is used up, and the time to wait.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Refusal {
    pub(crate) what: Limit,
    /// Time until a request of this key is allowed again.
    pub(crate) retry_after: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Limit {
    Requests,
    Tokens,
}

/// Sets the `x-ratelimit-*-requests` headers, with the names and formats of OpenAI's API.
pub(crate) fn set_headers(ctx: &mut Context<'_>, limit: &str, decision: &Decision) {
    // One allocation for both values that change.
    let mut text = String::with_capacity(32);
    push_number(&mut text, decision.remaining.into());
    let split = text.len();
    push_duration(&mut text, decision.reset);
    let (remaining, reset) = text.split_at(split);
    // If the host refuses a header, the decision about the request stays the same.
    let _ = ctx.set_response_header("x-ratelimit-limit-requests", limit);
    let _ = ctx.set_response_header("x-ratelimit-remaining-requests", remaining);
    let _ = ctx.set_response_header("x-ratelimit-reset-requests", reset);
}

/// Returns the answer to a request over the limit. Other plugins see `key` as `limit_key`; the client does not see it.
pub(crate) fn refuse(Refusal { what, retry_after }: Refusal, key: String) -> ShortCircuit {
    let mut message = String::with_capacity(64);
    message.push_str(match what {
        Limit::Requests => "rate limit exceeded, try again in ",
        Limit::Tokens => "token limit exceeded, try again in ",
    });
    push_duration(&mut message, retry_after);
    let error = Error::rate_limited(message).with_retry_after(retry_after.as_secs_f64());
    ShortCircuit::reject(error)
        .with_allow_fallback(false)
        .with_metadata("rate_limited", true)
        .with_metadata("limit_key", key)
}

/// Returns the answer to a request whose limit cannot be checked.
pub(crate) fn unavailable() -> ShortCircuit {
    let error = Error::unavailable("the rate limit cannot be checked now").with_retry_after(1.0);
    ShortCircuit::reject(error).with_allow_fallback(false)
}

/// Appends a duration in OpenAI's format, rounded up to milliseconds: `120ms`, `1s`, `1.5s`, `6m0s`, `1h0m30s`.
fn push_duration(text: &mut String, duration: Duration) {
    let nanos = u64::from(duration.subsec_nanos());
    let millis = duration.as_secs().saturating_mul(1_000) + nanos.div_ceil(1_000_000);
    let (seconds, part) = (millis / 1_000, millis % 1_000);
    let (hours, minutes) = (seconds / 3_600, seconds / 60 % 60);
    if seconds == 0 {
        push_number(text, part);
        return text.push_str("ms");
    }
    if hours > 0 {
        push_number(text, hours);
        text.push('h');
    }
    if seconds >= 60 {
        push_number(text, minutes);
        text.push('m');
    }
    push_number(text, seconds % 60);
    if part > 0 && seconds < 60 {
        text.push('.');
        let digits = [part / 100, part / 10 % 10, part % 10].map(|digit| b'0' + digit as u8);
        let zeros = digits.iter().rev().take_while(|digit| **digit == b'0').count();
        text.extend(digits[..3 - zeros].iter().copied().map(char::from));
    }
    text.push('s');
}

/// Appends a number in decimal.
fn push_number(text: &mut String, number: u64) {
    text.push_str(itoa::Buffer::new().format(number));
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
