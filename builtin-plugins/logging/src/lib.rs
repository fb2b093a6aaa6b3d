//! The logging plugin: one `tracing` event when a request starts, one at its first token, one when it is over.
//!
//! A host loads the plugin as a library or compiles it in. A host that compiles it in can also set closures, with
//! `Logging::builder()`. The host decides where the events are written.
//!
//! If a plugin before this one answers a request, the request has no start event. Its end event is logged like any
//! other and has all the fields.
//!
//! Headers are never logged, because they may hold credentials. Bodies are logged only if the operator enables it;
//! members and words that look like credentials are replaced.
//!
//! Deliberately absent: writing of the log. The host buffers events and drops them when the buffer is full, so a
//! slow log does not slow down requests.
//!
//! * `config`: the configuration of the operator.
//! * `body`: the logged form of a body.
//! * `event`: the three events.

mod body;
mod config;
mod event;

use std::{
    sync::{Arc, LazyLock},
    time::Duration,
};

use llmux_abi::{convert::Frames, prelude::*};
use memchr::memmem::Finder;

pub use self::config::{Config, Level};
use self::{
    body::Bodies,
    event::{Asked, Ended, Who, is_enabled},
};

type Filter = Arc<dyn Fn(&Context<'_>) -> bool + Send + Sync>;

/// The plugin.
pub struct Logging {
    host: Host,
    level: Level,
    log_request_body: bool,
    log_response_body: bool,
    bodies: Bodies,
    filter: Option<Filter>,
}

/// The state of one request between its hooks, reset at every attempt.
#[derive(Default)]
struct RequestState {
    /// Whether the attempt is logged.
    is_logged: bool,
    /// The start of the attempt on the host's clock.
    started: Duration,
    had_token: bool,
    finish_reason: Option<String>,
    frames: Frames,
    /// The joined text of the stream so far, if bodies are logged. No longer than needed for the log.
    text: String,
}

impl Logging {
    /// Builds the plugin for a host that compiles it in.
    ///
    /// ```
    /// use llmux_abi::prelude::*;
    /// use llmux_plugin_logging::{Level, Logging};
    ///
    /// fn only_one_team(host: Host) -> Result<Logging> {
    ///     Logging::builder()
    ///         .level(Level::Debug)
    ///         .log_request_body(true)
    ///         .filter(|ctx: &Context<'_>| ctx.team() == Some("research"))
    ///         .build(host)
    /// }
    /// ```
    pub fn builder() -> Builder {
        Builder::default()
    }

    /// Returns true if this request is logged. The level is checked first, because that is cheap.
    fn logs(&self, ctx: &Context<'_>) -> bool {
        is_enabled(self.level) && self.filter.as_ref().is_none_or(|filter| filter(ctx))
    }

    fn first_token(&self, ctx: &mut Context<'_>) {
        let now = self.host.now();
        let seen = ctx.state::<RequestState>();
        seen.had_token = true;
        let time = now.saturating_sub(seen.started);
        event::first_token(self.level, &Who::of(ctx), time);
    }
}

/// Returns true if a chunk has output of the model: text, or a part of a tool call.
fn has_content(chunk: &Chunk<'_>) -> bool {
    chunk.delta().or_else(|| chunk.get_str("/delta")).is_some_and(|text| !text.is_empty())
        || chunk.len("/choices/0/delta/tool_calls").is_some_and(|calls| calls > 0)
}

/// Returns true if a chunk may tell how its answer ends. Almost no chunk does, and the others need no parser.
fn may_end(chunk: &str) -> bool {
    static NAMES: LazyLock<[Finder<'static>; 2]> =
        LazyLock::new(|| ["\"finish_reason\"", "\"status\""].map(Finder::new));
    let has_text = |rest: &str| {
        let value = rest.trim_start().strip_prefix(':').map(str::trim_start);
        value.is_some_and(|value| value.starts_with('"'))
    };
    let may_end = |name: &Finder<'_>| {
        name.find_iter(chunk.as_bytes()).any(|at| has_text(&chunk[at + name.needle().len()..]))
    };
    NAMES.iter().any(may_end)
}

/// Returns true if a response object with this status is not finished.
fn is_underway(status: &str) -> bool {
    matches!(status, "queued" | "in_progress")
}

impl Plugin for Logging {
    type Config = Config;

    fn new(config: Config, host: Host) -> Result<Self> {
        Self::builder().config(config).build(host)
    }

    async fn pre_hook(&self, ctx: &mut Context<'_>, request: &mut Request<'_>) -> Result<Flow> {
        if !self.logs(ctx) {
            if ctx.attempt() > 0 {
                *ctx.state::<RequestState>() = RequestState::default();
            }
            return Ok(Flow::Continue);
        }
        *ctx.state::<RequestState>() =
            RequestState { is_logged: true, started: self.host.now(), ..RequestState::default() };
        let body = self.log_request_body.then(|| self.bodies.json(request.text("").unwrap_or_default()));
        event::started(self.level, &Who::of(ctx), &Asked::of(request), body.as_deref());
        Ok(Flow::Continue)
    }

    async fn on_stream_chunk(&self, ctx: &mut Context<'_>, chunk: &mut Chunk<'_>) -> Result<ChunkFlow> {
        let seen = ctx.state::<RequestState>();
        if !seen.is_logged {
            return Ok(ChunkFlow::Forward);
        }
        if !seen.had_token && has_content(chunk) {
            self.first_token(ctx);
        }
        let seen = ctx.state::<RequestState>();
        if chunk.text("").is_some_and(|text| seen.frames.read(text.as_bytes()).is_none() && may_end(text)) {
            let status = || chunk.get_str("/response/status").filter(|status| !is_underway(status));
            if let Some(reason) = chunk.finish_reason().or_else(status) {
                seen.finish_reason = Some(reason.to_owned());
            }
        }
        if self.log_response_body
            && seen.text.len() < self.bodies.most_bytes()
            && let Some(text) = chunk.delta()
        {
            seen.text.push_str(text);
        }
        Ok(ChunkFlow::Forward)
    }

    async fn on_complete(&self, ctx: &mut Context<'_>, completion: &Completion<'_>) {
        if !self.logs(ctx) {
            return;
        }
        let RequestState { finish_reason, text, .. } = std::mem::take(ctx.state::<RequestState>());
        let response = completion.response();
        let body = match &response {
            _ if !self.log_response_body => None,
            Some(response) => Some(self.bodies.json(response.text("").unwrap_or_default())),
            None if text.is_empty() => None,
            None => Some(self.bodies.text(&text)),
        };
        let finish_reason = match &response {
            Some(response) => response.finish_reason().or_else(|| response.get_str("/status")),
            None => finish_reason.as_deref(),
        };
        let asked = completion.request().map(|request| Asked::of(&request)).unwrap_or_default();
        let ended = Ended::of(ctx, completion, &self.bodies);
        event::ended(self.level, &Who::of(ctx), &asked, &ended, finish_reason, body.as_deref());
    }
}

export_plugin!(Logging, name: "logging", priority: 1000);

/// Builds a [`Logging`] in code, with options that a configuration file cannot express.
#[derive(Default)]
pub struct Builder {
    config: Config,
    filter: Option<Filter>,
    redact: Option<body::Redact>,
}

impl Builder {
    /// Replaces the whole configuration. Later calls override single options of it.
    pub fn config(mut self, config: Config) -> Self {
        self.config = config;
        self
    }

    /// Sets the level of the events. Default: `info`.
    pub fn level(mut self, level: Level) -> Self {
        self.config.level = level;
        self
    }

    /// Sets whether the bodies of requests are logged. Default: false.
    pub fn log_request_body(mut self, log: bool) -> Self {
        self.config.log_request_body = log;
        self
    }

    /// Sets whether the bodies of responses are logged; for a stream, the joined text. Default: false.
    pub fn log_response_body(mut self, log: bool) -> Self {
        self.config.log_response_body = log;
        self
    }

    /// Sets a filter: only requests for which it returns `true` are logged. Called at the start and at the end of each request,
    /// so it should be fast.
    pub fn filter(mut self, filter: impl Fn(&Context<'_>) -> bool + Send + Sync + 'static) -> Self {
        self.filter = Some(Arc::new(filter));
        self
    }

    /// Sets a closure that rewrites a body or an error message before it is logged. Called after this plugin's own
    /// redaction and before the text is cut.
    pub fn redact(mut self, redact: impl Fn(&str) -> String + Send + Sync + 'static) -> Self {
        self.redact = Some(Arc::new(redact));
        self
    }

    /// Returns the plugin, for [`llmux_abi::host::instance`].
    ///
    /// # Errors
    ///
    /// If `max_body_chars` is not between 1 and 1,000,000.
    pub fn build(self, host: Host) -> Result<Logging> {
        let Config { level, log_request_body, log_response_body, max_body_chars } = self.config;
        if !(1..=1_000_000).contains(&max_body_chars) {
            return Err(Error::new("`max_body_chars` must be between 1 and 1000000"));
        }
        let bodies = Bodies::new(max_body_chars, self.redact);
        Ok(Logging { host, level, log_request_body, log_response_body, bodies, filter: self.filter })
    }
}

#[cfg(test)]
mod tests {
    use super::may_end;

    #[test]
    fn a_chunk_with_a_reason_or_a_status_may_end() {
        for (chunk, expected) in [
            (r#"{"choices":[{"delta":{"content":"a"},"finish_reason":null}]}"#, false),
            (r#"{"choices":[{"delta":{},"finish_reason":"stop"}]}"#, true),
            (r#"{"choices":[{"finish_reason":null},{"finish_reason" : "stop"}]}"#, true),
            (r#"{"response":{"status":"completed"}}"#, true),
            (r#"{"delta":"\"status\": \"no\""}"#, false),
            (r#"{"finish_reason""#, false),
        ] {
            assert_eq!(may_end(chunk), expected, "{chunk}");
        }
    }
}
