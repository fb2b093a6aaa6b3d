//! The rate-limit plugin: refuses requests over a limit, for each key, before anything else is done for them.
//!
//! A host loads it as a library or compiles it in (`RateLimit::builder()` then also takes a closure for the
//! key). The pre hook decides, for plain requests and streams alike; `on_complete` charges the tokens that an
//! answer used. A decision is made once for each request of a client: its fallback attempts are part of it.
//!
//! Deliberately absent: queueing (a refused client is told when to come back), and limits on what a request
//! may contain.
//!
//! * `config`: what the operator says.
//! * `key`: whose limit a request counts against.
//! * `local`: the limiter of this process.
//! * `remote`: the limiter that hosts share, in Redis.
//! * `answer`: what the client is told.

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
    /// The bucket's size as text, for every response.
    limit: String,
}

/// What is remembered of a request between its hooks.
#[derive(Default)]
struct RequestState {
    decision: Option<Decision>,
    /// Whom to charge for tokens: the key's hash, and its text where a server is told.
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
        // Where the host spawns nothing, a full table is pruned as new keys come.
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

    /// Asks the limiter in charge. `None` when that is a server that is away and the operator wants no other.
    async fn decide(&self, hash: u64, text: Option<&str>) -> Option<Decision> {
        let Some(remote) = &self.remote else {
            return Some(self.local.decide(hash));
        };
        // Boxed, so that the hook's own future stays small where no server is asked.
        match Box::pin(remote.decide(text.unwrap_or_default())).await {
            Ok(decision) => Some(decision),
            Err(error) => {
                debug!(%error, "the shared limit cannot be asked");
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
        // Response headers are fresh at every attempt, the charge is not.
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
        // An answer from a cache repeats the usage of the request that it was made for.
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

/// Builds a [`RateLimit`] with what a configuration file cannot say.
#[derive(Default)]
pub struct Builder {
    config: Config,
    key: Option<Key>,
}

impl Builder {
    /// Starts from a whole configuration; what is set after it overrides it.
    pub fn config(mut self, config: Config) -> Self {
        self.config = config;
        self
    }

    /// How many requests a second each key gets on average. Default 10.
    pub fn requests_per_second(mut self, requests: f64) -> Self {
        self.config.requests_per_second = requests;
        self
    }

    /// How many requests each key may make at once.
    pub fn burst(mut self, burst: u32) -> Self {
        self.config.burst = Some(burst);
        self
    }

    /// How many tokens a minute each key gets.
    pub fn tokens_per_minute(mut self, tokens: u64) -> Self {
        self.config.tokens_per_minute = Some(tokens);
        self
    }

    /// Whose limit a request counts against: requests for which the closure says the same share one. What
    /// it says is seen by other plugins as `limit_key` when a request is refused. Overrides the
    /// configuration's `key`.
    pub fn key(mut self, key: impl Fn(&Context<'_>) -> String + Send + Sync + 'static) -> Self {
        self.key = Some(Key::from_closure(Arc::new(key)));
        self
    }

    /// Returns the plugin, for [`llmux_abi::host::instance`].
    ///
    /// # Errors
    ///
    /// When the configuration contradicts itself, or the Redis URL is none.
    pub fn build(self, host: Host) -> Result<RateLimit> {
        let key = match self.key {
            Some(key) => key,
            None => Key::from_config(&self.config.key)?,
        };
        RateLimit::with_key(self.config, key, &host)
    }
}
