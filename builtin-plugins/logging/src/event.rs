//! The three events and their fields. A field without a value is left out.
//!
//! `tracing` requires a constant level at each event, hence the macro that writes every event five times.

use std::time::Duration;

use llmux_abi::{AnsweredBy, Completion, Context, Ending, Request, Usage};

use crate::{body::Bodies, config::Level};

macro_rules! event_at {
    ($level:expr, $($event:tt)+) => {
        match $level {
            Level::Trace => tracing::trace!($($event)+),
            Level::Debug => tracing::debug!($($event)+),
            Level::Info => tracing::info!($($event)+),
            Level::Warn => tracing::warn!($($event)+),
            Level::Error => tracing::error!($($event)+),
        }
    };
}

/// Returns true if a subscriber takes events of this level. Checked before anything is read or written.
pub(crate) fn is_enabled(level: Level) -> bool {
    match level {
        Level::Trace => tracing::event_enabled!(tracing::Level::TRACE),
        Level::Debug => tracing::event_enabled!(tracing::Level::DEBUG),
        Level::Info => tracing::event_enabled!(tracing::Level::INFO),
        Level::Warn => tracing::event_enabled!(tracing::Level::WARN),
        Level::Error => tracing::event_enabled!(tracing::Level::ERROR),
    }
}

/// The request that an event is about.
pub(crate) struct Who<'a> {
    request_id: &'a str,
    endpoint: &'a str,
    model: &'a str,
    provider: Option<&'a str>,
    attempt: u32,
    stream: bool,
}

impl<'a> Who<'a> {
    pub(crate) fn of(ctx: &'a Context<'_>) -> Self {
        Self {
            request_id: ctx.request_id(),
            endpoint: ctx.endpoint(),
            model: ctx.model(),
            provider: ctx.provider(),
            attempt: ctx.attempt(),
            stream: ctx.is_streaming(),
        }
    }
}

/// The fields that describe the request's body.
#[derive(Default)]
pub(crate) struct Asked {
    messages: Option<usize>,
    tools: Option<usize>,
    max_tokens: Option<u64>,
    temperature: Option<f64>,
}

impl Asked {
    pub(crate) fn of(request: &Request<'_>) -> Self {
        let limits = ["/max_tokens", "/max_completion_tokens", "/max_output_tokens"];
        Self {
            // The responses endpoint calls the messages `input`, which can also be a text.
            messages: request.len("/messages").or_else(|| request.len("/input")),
            tools: request.len("/tools"),
            max_tokens: limits.into_iter().find_map(|limit| request.get(limit)),
            temperature: request.get("/temperature"),
        }
    }
}

/// The fields that describe the end of a request.
pub(crate) struct Ended {
    status: u16,
    latency: Duration,
    first_chunk: Option<Duration>,
    usage: Option<Usage>,
    /// The name of the provider or of the instance that answered.
    answered_by: Option<String>,
    cache_hit: bool,
    rate_limited: bool,
    cancelled: bool,
    /// True if the provider ended its stream before every choice had a reason.
    unfinished: bool,
    /// The type and the message of the error.
    error: Option<(String, String)>,
}

impl Ended {
    pub(crate) fn of(ctx: &Context<'_>, completion: &Completion<'_>, bodies: &Bodies) -> Self {
        let (ending, answered_by) = (completion.ending(), completion.answered_by());
        let cancelled = ending == Ending::Cancelled;
        let error = match ending {
            // The message is redacted: some providers repeat a wrong key in it.
            Ending::Failed(error) => Some((error.error_type().to_owned(), bodies.text(error.message()))),
            Ending::Completed | Ending::Cancelled => None,
        };
        Self {
            status: completion.status(),
            latency: completion.latency(),
            first_chunk: completion.first_chunk(),
            usage: completion.usage(),
            answered_by: match answered_by {
                AnsweredBy::Provider(name) | AnsweredBy::Plugin(name) | AnsweredBy::Cache(name) => {
                    Some(name.to_owned())
                }
                _ => None,
            },
            cache_hit: matches!(answered_by, AnsweredBy::Cache(_)),
            rate_limited: ctx.get_bool("rate_limited").unwrap_or(false),
            cancelled,
            unfinished: completion.is_unfinished(),
            error,
        }
    }
}

/// Returns the milliseconds of a duration, with microseconds as the fraction.
fn millis(duration: Duration) -> f64 {
    duration.as_micros() as f64 / 1_000.0
}

pub(crate) fn started(level: Level, who: &Who<'_>, asked: &Asked, body: Option<&str>) {
    event_at!(
        level,
        request_id = who.request_id,
        endpoint = who.endpoint,
        model = who.model,
        attempt = who.attempt,
        stream = who.stream,
        messages = asked.messages,
        tools = asked.tools,
        max_tokens = asked.max_tokens,
        temperature = asked.temperature,
        request_body = body,
        "request started"
    );
}

pub(crate) fn first_token(level: Level, who: &Who<'_>, time: Duration) {
    event_at!(
        level,
        request_id = who.request_id,
        endpoint = who.endpoint,
        model = who.model,
        provider = who.provider,
        attempt = who.attempt,
        stream = who.stream,
        time_to_first_token_ms = millis(time),
        "first token"
    );
}

pub(crate) fn ended(
    level: Level,
    who: &Who<'_>,
    asked: &Asked,
    ended: &Ended,
    finish_reason: Option<&str>,
    body: Option<&str>,
) {
    let (error_type, error) = match &ended.error {
        Some((kind, message)) => (Some(kind.as_str()), Some(message.as_str())),
        None => (None, None),
    };
    let message = match error {
        _ if ended.cancelled => "request cancelled",
        Some(_) => "request failed",
        None => "request completed",
    };
    event_at!(
        level,
        request_id = who.request_id,
        endpoint = who.endpoint,
        model = who.model,
        provider = who.provider,
        attempt = who.attempt,
        stream = who.stream,
        messages = asked.messages,
        tools = asked.tools,
        max_tokens = asked.max_tokens,
        temperature = asked.temperature,
        status = ended.status,
        latency_ms = millis(ended.latency),
        time_to_first_token_ms = ended.first_chunk.map(millis),
        prompt_tokens = ended.usage.map(|usage| usage.prompt_tokens),
        completion_tokens = ended.usage.map(|usage| usage.completion_tokens),
        total_tokens = ended.usage.map(|usage| usage.total_tokens),
        tokens_estimated = ended.usage.filter(|usage| usage.is_estimated).map(|_| true),
        finish_reason,
        answered_by = ended.answered_by.as_deref(),
        unfinished = ended.unfinished.then_some(true),
        cache_hit = ended.cache_hit,
        rate_limited = ended.rate_limited,
        error_type,
        error,
        response_body = body,
        "{message}"
    );
}
