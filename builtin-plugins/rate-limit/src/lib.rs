//! The rate-limit plugin: refuses requests over the limit of their key, before other plugins and the provider.
//!
//! A host loads the plugin as a library or compiles it in. A host that compiles it in can also set a closure for the
//! key, with `RateLimit::builder()`. The pre hook decides, for plain requests and streams alike, and reserves tokens.
//! `on_complete` settles: it replaces the reservation by the tokens that providers counted, and charges each further
//! attempt that reached a provider as a request. One decision is made for each request of a client, fallback attempts
//! included.
//!
//! Deliberately absent: queueing (a refusal states the time after which to retry), and limits on the content of a
//! request.
//!
//! * `config`: the configuration of the operator.
//! * `key`: the key whose limit a request counts against.
//! * `local`: the limiter of this process.
//! * `remote`: the limiter that hosts share, in Redis.
//! * `answer`: the response headers and the refusal.

mod answer;
mod config;
mod key;
mod local;
mod remote;

use std::sync::Arc;

use llmux_abi::prelude::*;

pub use llmux_redis_link::RedisConfig;
use llmux_redis_link::health;

pub use self::config::{Config, KeyConfig, OnBackendError};
use self::{
    answer::Decision,
    key::Key,
    local::{Clock, Local, Settlement},
    remote::Remote,
};

/// The most tokens that a request reserves for its answer, and the number for a request that names no limit.
const MAX_ANSWER_TOKENS: u64 = 1_024;

/// The plugin.
pub struct RateLimit {
    key: Key,
    local: Local,
    remote: Option<Remote>,
    on_backend_error: OnBackendError,
    tokens_per_minute: Option<u64>,
    /// The size of the bucket as text, for a header of every response.
    limit: String,
}

/// The state of one request between its hooks.
#[derive(Default)]
struct RequestState {
    decision: Option<Decision>,
    admitted: Option<Admitted>,
}

/// An admitted request, to be settled at its end.
struct Admitted {
    /// The hash of its key.
    key: u64,
    /// The text of its key, if Redis admitted it.
    text: Option<String>,
    /// The reserved tokens.
    reserved: u64,
}

impl RateLimit {
    /// Builds the plugin for a host that compiles it in.
    ///
    /// ```
    /// use llmux_abi::prelude::*;
    /// use llmux_plugin_rate_limit::RateLimit;
    ///
    /// fn by_team(host: Host) -> Result<RateLimit> {
    ///     RateLimit::builder()
    ///         .requests_per_second(50.0)
    ///         .key(|ctx: &Context<'_>| ctx.team().unwrap_or("nobody").to_owned())
    ///         .build(host)
    /// }
    /// ```
    pub fn builder() -> Builder {
        Builder::default()
    }

    fn with_key(config: Config, key: Key, host: &Host) -> Result<Self> {
        let limits = config.limits()?;
        let clock = {
            let host = host.clone();
            Clock::new(move || host.now())
        };
        let local = Local::new(&limits, config.max_keys, &clock);
        let remote = match &config.redis {
            None => None,
            Some(redis) => Some(Remote::open(redis, &limits, health::gauge(host))?),
        };
        let pruned = local.prunable();
        let sleeper = host.clone();
        // If the host cannot spawn this task, a full table is pruned when new keys arrive.
        let _ = host.spawn(async move {
            loop {
                sleeper.sleep(local::PRUNE_EVERY).await;
                if !pruned.prune() {
                    return;
                }
            }
        });
        Ok(Self {
            key,
            local,
            remote,
            on_backend_error: config.on_backend_error,
            tokens_per_minute: limits.tokens_per_minute,
            limit: limits.burst.to_string(),
        })
    }

    /// Returns the decision of the limiter, and whether Redis made it. `None` if Redis is unavailable and
    /// `on_backend_error` is `deny`.
    async fn decide(&self, key: u64, text: Option<&str>, reserved: u64) -> Option<(Decision, bool)> {
        let Some(remote) = &self.remote else {
            return Some((self.local.decide(key, reserved), false));
        };
        // Boxed, so that the future of the hook stays small without Redis.
        match Box::pin(remote.decide(text.unwrap_or_default(), reserved)).await {
            Ok(decision) => Some((decision, true)),
            Err(error) => {
                debug!(%error, "the shared limit cannot be checked");
                match self.on_backend_error {
                    OnBackendError::Allow => Some((self.local.decide(key, reserved), false)),
                    OnBackendError::Deny => None,
                }
            }
        }
    }

    /// Returns the tokens that a request reserves: a quarter of its bytes and the answer's limit, but no more than a full
    /// bucket. Zero without a limit of tokens.
    fn reservation(&self, ctx: &Context<'_>, request: &Request<'_>) -> u64 {
        let Some(full) = self.tokens_per_minute else { return 0 };
        let limits = ["/max_tokens", "/max_completion_tokens", "/max_output_tokens"];
        let answer = match ctx.endpoint() {
            "chat/completions" | "completions" | "responses" => {
                limits.into_iter().find_map(|limit| request.get(limit)).unwrap_or(MAX_ANSWER_TOKENS)
            }
            // The answer has no text.
            _ => 0,
        };
        let bytes = request.text("").map_or(0, str::len) as u64;
        (bytes / 4 + answer.min(MAX_ANSWER_TOKENS)).min(full)
    }
}

impl Plugin for RateLimit {
    type Config = Config;

    fn new(config: Config, host: Host) -> Result<Self> {
        let key = Key::from_config(&config.key)?;
        Self::with_key(config, key, &host)
    }

    async fn pre_hook(&self, ctx: &mut Context<'_>, request: &mut Request<'_>) -> Result<Flow> {
        // Response headers are empty again at every attempt; the request was already counted.
        if ctx.attempt() > 1
            && let Some(decision) = ctx.state::<RequestState>().decision
        {
            answer::set_headers(ctx, &self.limit, &decision);
            return Ok(Flow::Continue);
        }
        let key = self.key.hash(ctx);
        let text = self.remote.is_some().then(|| self.key.text(ctx));
        let reserved = self.reservation(ctx, request);
        let Some((decision, is_remote)) = self.decide(key, text.as_deref(), reserved).await else {
            return Ok(answer::unavailable().into());
        };
        answer::set_headers(ctx, &self.limit, &decision);
        if let Some(refusal) = decision.refused {
            let text = text.unwrap_or_else(|| self.key.text(ctx));
            return Ok(answer::refuse(refusal, text).into());
        }
        let admitted = Admitted { key, text: text.filter(|_| is_remote), reserved };
        *ctx.state::<RequestState>() = RequestState { decision: Some(decision), admitted: Some(admitted) };
        Ok(Flow::Continue)
    }

    async fn on_complete(&self, ctx: &mut Context<'_>, completion: &Completion<'_>) {
        let Some(Admitted { key, text, reserved }) = ctx.state::<RequestState>().admitted.take() else {
            return;
        };
        let total = |usage: Usage| {
            usage.total_tokens.max(usage.prompt_tokens.saturating_add(usage.completion_tokens))
        };
        let mut settlement = Settlement {
            // The first attempt was counted when the request was admitted.
            requests: completion.attempts().count().saturating_sub(1) as u32,
            reserved,
            used: completion.usage().filter(|_| self.tokens_per_minute.is_some()).map_or(0, total),
        };
        // The limiter that admitted a request settles it.
        if let (Some(remote), Some(text)) = (&self.remote, text) {
            match remote.settle(&text, settlement).await {
                Ok(()) => return,
                Err(error) => debug!(%error, "a request cannot be settled with the shared limit"),
            }
            settlement.reserved = 0;
        }
        self.local.settle(key, settlement);
    }

    async fn cleanup(&self) -> Result<()> {
        if let Some(remote) = &self.remote {
            remote.close().await;
        }
        Ok(())
    }
}

export_plugin!(RateLimit, name: "rate-limit", priority: 5);

/// Builds a [`RateLimit`] in code, with options that a configuration file cannot express.
#[derive(Default)]
pub struct Builder {
    config: Config,
    key: Option<Key>,
}

impl Builder {
    /// Replaces the whole configuration. Later calls override single options of it.
    pub fn config(mut self, config: Config) -> Self {
        self.config = config;
        self
    }

    /// Sets the requests per second that each key gets on average, 0.000001 to 1,000,000. Default: 10.
    pub fn requests_per_second(mut self, requests: f64) -> Self {
        self.config.requests_per_second = requests;
        self
    }

    /// Sets the requests that each key may make at once after a pause. Default: one second's worth, at least 1.
    pub fn burst(mut self, burst: u32) -> Self {
        self.config.burst = Some(burst);
        self
    }

    /// Sets the tokens per minute that each key gets. Default: no limit.
    pub fn tokens_per_minute(mut self, tokens: u64) -> Self {
        self.config.tokens_per_minute = Some(tokens);
        self
    }

    /// Sets the closure that returns the key of a request. Requests with the same key share one limit. If a request is
    /// refused, other plugins see its key as `limit_key`. Overrides the `key` of the configuration.
    pub fn key(mut self, key: impl Fn(&Context<'_>) -> String + Send + Sync + 'static) -> Self {
        self.key = Some(Key::from_closure(Arc::new(key)));
        self
    }

    /// Returns the plugin, for [`llmux_abi::host::instance`].
    ///
    /// # Errors
    ///
    /// If the configuration is not valid, or the Redis URL is not valid.
    pub fn build(self, host: Host) -> Result<RateLimit> {
        let key = match self.key {
            Some(key) => key,
            None => Key::from_config(&self.config.key)?,
        };
        RateLimit::with_key(self.config, key, &host)
    }
}
