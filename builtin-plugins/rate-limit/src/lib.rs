//! The rate-limit plugin: refuses requests over the limit of their key, before other plugins and the provider.
//!
//! A host loads the plugin as a library or compiles it in. A host that compiles it in can also set a closure for the
//! key, with `RateLimit::builder()`. The pre hook decides, for plain requests and streams alike. `on_complete` charges
//! the tokens that an answer used. One decision is made for each request of a client, fallback attempts included.
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

pub use self::config::{Backend, Config, KeyConfig, OnBackendError};
use self::{
    answer::Decision,
    key::Key,
    local::{Clock, Local},
    remote::Remote,
};

/// The plugin.
pub struct RateLimit {
    key: Key,
    local: Local,
    remote: Option<Remote>,
    on_backend_error: OnBackendError,
    charges_tokens: bool,
    /// The size of the bucket as text, for a header of every response.
    limit: String,
}

/// The state of one request between its hooks.
#[derive(Default)]
struct RequestState {
    decision: Option<Decision>,
    /// The key to charge for tokens: its hash, and its text if the limit is kept in Redis.
    charge: Option<(u64, Option<String>)>,
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
        let remote = match config.backend {
            Backend::Memory => None,
            Backend::Redis => Some(Remote::open(&config, &limits)?),
        };
        let pruned = local.prunable();
        let sleeper = host.clone();
        // If the host cannot spawn this task, a full table is pruned when new keys arrive.
        host.spawn(async move {
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
            charges_tokens: limits.tokens_per_minute.is_some(),
            limit: limits.burst.to_string(),
        })
    }

    /// Returns the decision of the limiter. `None` if Redis is unavailable and `on_backend_error` is `deny`.
    async fn decide(&self, hash: u64, text: Option<&str>) -> Option<Decision> {
        let Some(remote) = &self.remote else {
            return Some(self.local.decide(hash));
        };
        // Boxed, so that the future of the hook stays small without Redis.
        match Box::pin(remote.decide(text.unwrap_or_default())).await {
            Ok(decision) => Some(decision),
            Err(error) => {
                debug!(%error, "the shared limit cannot be checked");
                match self.on_backend_error {
                    OnBackendError::Allow => Some(self.local.decide(hash)),
                    OnBackendError::Deny => None,
                }
            }
        }
    }
}

impl Plugin for RateLimit {
    type Config = Config;

    fn new(config: Config, host: Host) -> Result<Self> {
        let key = Key::from_config(&config.key)?;
        Self::with_key(config, key, &host)
    }

    async fn pre_hook(&self, ctx: &mut Context<'_>, _request: &mut Request<'_>) -> Result<Flow> {
        // Response headers are empty again at every attempt; the request was already counted.
        if ctx.attempt() > 1
            && let Some(decision) = ctx.state::<RequestState>().decision
        {
            answer::set_headers(ctx, &self.limit, &decision);
            return Ok(Flow::Continue);
        }
        let hash = self.key.hash(ctx);
        let text = self.remote.is_some().then(|| self.key.text(ctx));
        let Some(decision) = self.decide(hash, text.as_deref()).await else {
            return Ok(answer::unavailable().into());
        };
        answer::set_headers(ctx, &self.limit, &decision);
        if let Some(refusal) = decision.refused {
            let text = text.unwrap_or_else(|| self.key.text(ctx));
            return Ok(answer::refuse(refusal, text).into());
        }
        let charge = self.charges_tokens.then_some((hash, text));
        *ctx.state::<RequestState>() = RequestState { decision: Some(decision), charge };
        Ok(Flow::Continue)
    }

    async fn on_complete(&self, ctx: &mut Context<'_>, completion: &Completion<'_>) {
        if !self.charges_tokens {
            return;
        }
        // An answer from a cache repeats the usage of the original request.
        let is_hit = ctx.get_bool("cache_hit").unwrap_or(false);
        let Some((hash, text)) = ctx.state::<RequestState>().charge.take().filter(|_| !is_hit) else {
            return;
        };
        let Some(usage) = completion.usage() else { return };
        let tokens = usage.total_tokens.max(usage.prompt_tokens.saturating_add(usage.completion_tokens));
        if tokens == 0 {
            return;
        }
        if let (Some(remote), Some(text)) = (&self.remote, text) {
            match remote.charge(&text, tokens).await {
                Ok(()) => return,
                Err(error) => debug!(%error, "tokens cannot be charged to the shared limit"),
            }
        }
        self.local.charge(hash, tokens);
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
