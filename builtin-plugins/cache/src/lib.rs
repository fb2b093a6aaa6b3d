//! The cache plugin: answers a repeated request from memory or Redis. A stored answer serves plain and
//! streaming requests, whichever kind of request stored it.
//!
//! A host loads the plugin as a library or compiles it in. A host that compiles it in can also set a key closure
//! and a backend, with `Cache::builder()`.
//!
//! The pre hook looks up the answer and remembers the key. On a miss, the post hook (or the chunk hook) copies
//! the answer. `on_complete` stores the copy once the outcome is known: an answer that a later plugin turned
//! into an error is not stored, and the response never waits for the store. The same request, sent again before that, waits
//! a moment for the store.
//!
//! Deliberately absent: rules about which answers are *worth* caching (a request with a temperature above zero
//! is cached like any other), and invalidation other than by time.
//!
//! * `config`: the configuration of the operator. `control`: the header `cache-control` of a client.
//! * `key`: the key of a request, made from `canonical`, one text for all spellings of a JSON body, in `parts`.
//! * `entry`: a stored answer. `backend`: the storage; `memory` and `remote` are the two built-in ones.
//! * `gather`: the copy of an answer. `complete`: the rule that decides whether it is stored, over the `shape` of the answer.
//! * `json`: the tokens of a JSON text.
//! * `flight`: identical misses under way at the same time.

mod backend;
mod canonical;
mod complete;
mod config;
mod control;
mod entry;
mod flight;
mod gather;
mod json;
mod key;
mod memory;
mod parts;
mod remote;
mod shape;

use std::{sync::Arc, time::Duration};

use llmux_abi::prelude::*;
pub use llmux_redis_link::RedisConfig;

pub use self::{
    backend::CacheBackend,
    config::Config,
    entry::{Entry, Event, Events},
    key::Key,
};
use self::{
    backend::Store,
    control::Control,
    flight::{Flights, Lead, Seat, Waiter},
    gather::Gathered,
    key::{KeyClosure, KeyMaker, Secret},
};

/// The plugin.
pub struct Cache {
    host: Host,
    keys: KeyMaker,
    store: Store,
    ttl: Duration,
    max_entry_bytes: usize,
    /// Present if identical misses wait for one of them (`coalesce`).
    flights: Option<Flights>,
    /// The answers that clients may have and the store has not.
    leaving: Flights,
}

/// Longest wait for an answer that is on its way to the store. Other plugins may delay it, and the provider answers then.
const LEAVING: Duration = Duration::from_millis(50);

/// The state of one request between its hooks, reset at every attempt.
#[derive(Default)]
struct RequestState {
    /// The attempt that this state belongs to.
    attempt: u32,
    /// The key to store the answer under. Absent for a hit, and if the client forbids storing.
    key: Option<Key>,
    gathered: Gathered,
    lead: Option<Lead>,
    /// Present from the end of the answer until it is stored.
    leaving: Option<Lead>,
}

impl Cache {
    /// Builds the plugin for a host that compiles it in.
    ///
    /// ```
    /// use llmux_abi::prelude::*;
    /// use llmux_plugin_cache::Cache;
    ///
    /// fn by_last_question(host: Host) -> Result<Cache> {
    ///     Cache::builder()
    ///         .coalesce(true)
    ///         .key(|_: &Context<'_>, request: &Request<'_>| request.last_user_text())
    ///         .build(host)
    /// }
    /// ```
    pub fn builder() -> Builder {
        Builder::default()
    }

    fn with(config: &Config, closure: Option<KeyClosure>, store: Option<Store>, host: Host) -> Result<Self> {
        config.check()?;
        let store = match (store, &config.redis) {
            (Some(store), _) => store,
            (None, None) => Store::memory(config, &host),
            (None, Some(redis)) => Store::redis(redis, &host)?,
        };
        // Other hosts may use the same storage, unless it is the memory of this process.
        let secret = matches!(store, Store::Memory(_)).then(Secret::random).transpose()?;
        Ok(Self {
            host,
            keys: KeyMaker::new(secret, closure, config.shared, config.parts()?),
            store,
            ttl: config.ttl,
            max_entry_bytes: config.max_entry_bytes,
            flights: config.coalesce.then(Flights::default),
            leaving: Flights::default(),
        })
    }

    /// Finds the stored answer. On a miss, prepares for storing the answer of the provider.
    async fn look_up(&self, ctx: &mut Context<'_>, request: &Request<'_>) -> Option<(Key, Arc<Entry>)> {
        let attempt = ctx.attempt();
        let control = ctx.header("cache-control").map(Control::parse).unwrap_or_default();
        let key = self.keys.key(ctx, request);
        // The state of an earlier attempt is dropped before the lookup, above all its lead. The requests that wait
        // for that lead go on, and this attempt does not wait for its own earlier attempt.
        *ctx.state::<RequestState>() = RequestState::default();
        let mut seen = RequestState { attempt, ..RequestState::default() };
        let mut found = None;
        if let Some(key) = key {
            if !control.no_cache {
                found = self.store.get(&key).await;
                if found.is_none()
                    && let Some(waiter) = self.leaving.underway(&key)
                {
                    found = self.wait_for_store(waiter).await;
                }
            }
            let may_wait = !control.no_cache && !control.no_store && !ctx.is_streaming();
            if found.is_none()
                && may_wait
                && let Some(flights) = &self.flights
            {
                (found, seen.lead) = self.wait(flights, ctx, &key).await;
            }
            if found.is_none() && !control.no_store {
                seen.key = Some(key);
            }
        }
        *ctx.state::<RequestState>() = seen;
        let _ = ctx.set_response_header("x-cache", if found.is_some() { "hit" } else { "miss" });
        key.zip(found)
    }

    /// Waits for an answer that is on its way to the store.
    async fn wait_for_store(&self, waiter: Waiter) -> Option<Arc<Entry>> {
        tokio::select! {
            biased;
            landed = waiter.landed() => landed,
            () = self.host.sleep(LEAVING) => None,
        }
    }

    /// Waits for an identical request that is under way. If there is none, becomes the leader of later ones.
    async fn wait(
        &self,
        flights: &Flights,
        ctx: &Context<'_>,
        key: &Key,
    ) -> (Option<Arc<Entry>>, Option<Lead>) {
        // The reserve is for the work after the wait, of which this hook has little.
        let reserve = (ctx.remaining() / 10).max(Duration::from_millis(20));
        loop {
            let waiter = match flights.join(key) {
                Seat::Lead(lead) => {
                    // The previous leader may have stored its answer between the lookup and the join.
                    return match self.store.get(key).await {
                        Some(entry) => (Some(entry), None),
                        None => (None, Some(lead)),
                    };
                }
                Seat::Wait(waiter) => waiter,
            };
            let left = ctx.remaining().saturating_sub(reserve);
            if left.is_zero() {
                return (None, None);
            }
            tokio::select! {
                biased;
                landed = waiter.landed() => match landed {
                    Some(entry) => return (Some(entry), None),
                    // The leader ended without an answer: one of the waiting requests leads now.
                    None => continue,
                },
                () = self.host.sleep(left) => return (None, None),
            }
        }
    }
}

fn no_stream() -> Error {
    Error::new("the store has a stream that is not whole")
}

impl Plugin for Cache {
    type Config = Config;

    fn new(config: Config, host: Host) -> Result<Self> {
        Self::with(&config, None, None, host)
    }

    async fn pre_hook(&self, ctx: &mut Context<'_>, request: &mut Request<'_>) -> Result<Flow> {
        let Some((key, entry)) = self.look_up(ctx, request).await else { return Ok(Flow::Continue) };
        let answer = match entry.events() {
            None => ShortCircuit::respond_json(entry::Response(entry)),
            Some(_) => ShortCircuit::respond_json(entry.response().ok_or_else(no_stream)?.into_owned()),
        };
        Ok(answer
            .with_cached(true)
            .with_metadata("cache_hit", true)
            .with_metadata("cache_key", key.to_string())
            .into())
    }

    async fn pre_stream_hook(&self, ctx: &mut Context<'_>, request: &mut Request<'_>) -> Result<StreamFlow> {
        let Some((key, entry)) = self.look_up(ctx, request).await else { return Ok(StreamFlow::Continue) };
        let key = key.to_string();
        if entry.events().is_none() {
            // The host converts the response to a stream.
            let answer = ShortCircuit::respond_json(entry::Response(entry)).with_cached(true);
            return Ok(answer.with_metadata("cache_hit", true).with_metadata("cache_key", key).into());
        }
        Ok(Streamed::events(entry::replay(entry))
            .with_cached(true)
            .with_metadata("cache_hit", true)
            .with_metadata("cache_key", key)
            .into())
    }

    async fn post_hook(&self, ctx: &mut Context<'_>, outcome: &mut Outcome<'_>) -> Result<()> {
        let seen = ctx.state::<RequestState>();
        if seen.key.is_some()
            && let Some(response) = outcome.response()
            && let Some(text) = response.text("")
        {
            // An answer that is too large to store is still copied if other requests wait for it.
            if text.len() <= self.max_entry_bytes || seen.lead.is_some() {
                seen.gathered = Gathered::Response(text.to_owned());
                seen.leaving = seen.key.as_ref().and_then(|key| self.leaving.lead(key));
            }
        }
        Ok(())
    }

    async fn on_stream_chunk(&self, ctx: &mut Context<'_>, chunk: &mut Chunk<'_>) -> Result<ChunkFlow> {
        let seen = ctx.state::<RequestState>();
        if seen.key.is_some()
            && let Some(text) = chunk.text("")
        {
            let event = chunk.event().unwrap_or_default();
            if !seen.gathered.push(event, text, self.max_entry_bytes) {
                seen.key = None;
            }
        }
        Ok(ChunkFlow::Forward)
    }

    async fn post_stream_hook(&self, ctx: &mut Context<'_>, end: &mut StreamEnd<'_>) -> Result<()> {
        let seen = ctx.state::<RequestState>();
        if end.completed() {
            seen.leaving = seen.key.as_ref().and_then(|key| self.leaving.lead(key));
        }
        Ok(())
    }

    async fn on_complete(&self, ctx: &mut Context<'_>, completion: &Completion<'_>) {
        let attempt = ctx.attempt();
        let RequestState { attempt: seen_at, key, gathered, lead, leaving } =
            std::mem::take(ctx.state::<RequestState>());
        let Some(key) = key.filter(|_| completion.completed() && seen_at == attempt) else { return };
        let Some(entry) = gathered.into_entry(ctx.endpoint()).map(Arc::new) else { return };
        // The waiting requests get the answer before it is stored. The lead is held until the store has the answer,
        // so that a request in between finds it in one of the two places.
        for lead in [&lead, &leaving].into_iter().flatten() {
            lead.land(Arc::clone(&entry));
        }
        if entry.size() <= self.max_entry_bytes {
            self.store.put(&key, entry, self.ttl).await;
        }
        drop((lead, leaving));
    }

    async fn cleanup(&self) -> Result<()> {
        self.store.close().await;
        Ok(())
    }
}

export_plugin!(Cache, name: "cache", priority: 10);

/// Builds a [`Cache`] in code, with options that a configuration file cannot express.
#[derive(Default)]
pub struct Builder {
    config: Config,
    closure: Option<KeyClosure>,
    store: Option<Store>,
}

impl Builder {
    /// Replaces the whole configuration. Later calls override single options of it.
    pub fn config(mut self, config: Config) -> Self {
        self.config = config;
        self
    }

    /// Sets the time that an answer is kept: one second to ten years. Default: one hour.
    pub fn ttl(mut self, ttl: Duration) -> Self {
        self.config.ttl = ttl;
        self
    }

    /// Sets whether identical plain requests that miss at the same time wait for one call. Default: false.
    pub fn coalesce(mut self, coalesce: bool) -> Self {
        self.config.coalesce = coalesce;
        self
    }

    /// Sets whether requests with different API keys share answers. Default: false.
    pub fn shared(mut self, shared: bool) -> Self {
        self.config.shared = shared;
        self
    }

    /// Sets further parts of a request that tell answers apart, as the `vary` of the configuration.
    pub fn vary(mut self, vary: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.config.vary = vary.into_iter().map(Into::into).collect();
        self
    }

    /// Sets the closure that identifies a request. Requests share an answer if the closure returns the same text for them,
    /// and if their endpoint and their parts of `vary` are the same; unless `shared` is set, also their API key. If the
    /// closure returns `None`, the request is neither looked up nor stored.
    pub fn key(
        mut self,
        key: impl Fn(&Context<'_>, &Request<'_>) -> Option<String> + Send + Sync + 'static,
    ) -> Self {
        self.closure = Some(Arc::new(key));
        self
    }

    /// Sets a custom backend. Overrides the `redis` of the configuration.
    pub fn backend(mut self, backend: impl CacheBackend) -> Self {
        self.store = Some(Store::own(backend));
        self
    }

    /// Returns the plugin, for [`llmux_abi::host::instance`].
    ///
    /// # Errors
    ///
    /// If the configuration is not valid, or the Redis URL is not valid.
    pub fn build(self, host: Host) -> Result<Cache> {
        Cache::with(&self.config, self.closure, self.store, host)
    }
}
