//! The cache plugin: answers a repeated request from memory or Redis, plain or streaming, whichever it was
//! stored as.
//!
//! A host loads it as a library or compiles it in (`Cache::builder()` then also takes a key closure and a
//! backend). The life of an answer: the pre hook looks it up and remembers the key; on a miss, the post hook
//! (or the chunk hook) copies what passes; `on_complete` stores the copy once the outcome is known, so that
//! what a later plugin turned into an error is not kept, and the response never waits for the store.
//!
//! Deliberately absent: any notion of which answers are *worth* caching (a temperature above zero is cached
//! like any other), and invalidation other than by time.
//!
//! * `config`: what the operator says. `control`: what a client says.
//! * `key`: which requests are the same, on top of `canonical`, one text for all spellings of a JSON body.
//! * `entry`: a stored answer. `backend`: where it is stored; `memory` and `remote` are two such places.
//! * `flight`: identical misses under way at the same time.

mod backend;
mod canonical;
mod config;
mod control;
mod entry;
mod flight;
mod gather;
mod key;
mod memory;
mod remote;

use std::{sync::Arc, time::Duration};

use llmux_abi::prelude::*;

pub use self::{
    backend::CacheBackend,
    config::{Backend, Config},
    entry::{Entry, Event},
    key::Key,
};
use self::{
    backend::Store,
    control::Control,
    flight::{Flights, Lead, Seat},
    gather::Gathered,
    key::{KeyClosure, KeyMaker},
};

/// The plugin.
pub struct Cache {
    host: Host,
    keys: KeyMaker,
    store: Store,
    ttl: Duration,
    max_entry_bytes: usize,
    /// Present when identical misses wait for one.
    flights: Option<Flights>,
}

/// What is remembered of a request between its hooks; begun anew at every attempt.
#[derive(Default)]
struct Seen {
    /// The attempt that the rest belongs to.
    attempt: u32,
    /// Under what to store the answer; absent for a hit, and where the client forbids it.
    key: Option<Key>,
    gathered: Gathered,
    lead: Option<Lead>,
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
        let store = match (store, config.backend) {
            (Some(store), _) => store,
            (None, Backend::Memory) => Store::memory(config, &host),
            (None, Backend::Redis) => Store::redis(config, &host)?,
        };
        Ok(Self {
            host,
            keys: KeyMaker::new(closure, config.shared),
            store,
            ttl: config.ttl,
            max_entry_bytes: config.max_entry_bytes,
            flights: config.coalesce.then(Flights::default),
        })
    }

    /// Finds the answer, or prepares for storing the one that comes.
    async fn look_up(&self, ctx: &mut Context<'_>, request: &Request<'_>) -> Option<(Key, Arc<Entry>)> {
        let attempt = ctx.attempt();
        let control = ctx.header("cache-control").map(Control::parse).unwrap_or_default();
        let key = self.keys.key(ctx, request);
        // What an earlier attempt left goes before this one looks, its lead above all: those who wait for it go
        // on, and this attempt does not wait for its own first one.
        *ctx.state::<Seen>() = Seen::default();
        let mut seen = Seen { attempt, ..Seen::default() };
        let mut found = None;
        if let Some(key) = key {
            if !control.no_cache {
                found = self.store.get(&key).await;
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
        *ctx.state::<Seen>() = seen;
        let _ = ctx.set_response_header("x-cache", if found.is_some() { "hit" } else { "miss" });
        key.zip(found)
    }

    /// Waits for an identical request that is under way, or leads those that come.
    async fn wait(
        &self,
        flights: &Flights,
        ctx: &Context<'_>,
        key: &Key,
    ) -> (Option<Arc<Entry>>, Option<Lead>) {
        // What is left at the end is for going upstream, of which this hook needs little.
        let reserve = (ctx.remaining() / 10).max(Duration::from_millis(20));
        loop {
            let waiter = match flights.join(key) {
                Seat::Lead(lead) => {
                    // The one before may have landed between the look and the seat.
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
                    // The leader got nowhere: one of those who waited leads now.
                    None => continue,
                },
                () = self.host.sleep(left) => return (None, None),
            }
        }
    }
}

/// Is this the answer, and not an error or a promise in the shape of one? A response object says of itself that
/// it failed, or that it is still being worked on, with status 200.
fn is_answer(response: &Response<'_>) -> bool {
    let is_settled = match response.get_str("/object") {
        Some("response") => matches!(response.get_str("/status"), None | Some("completed" | "incomplete")),
        _ => true,
    };
    is_settled && response.text("/error").is_none_or(|error| error == "null")
}

impl Plugin for Cache {
    type Config = Config;

    fn new(config: Config, host: Host) -> Result<Self> {
        Self::with(&config, None, None, host)
    }

    async fn pre_hook(&self, ctx: &mut Context<'_>, request: &mut Request<'_>) -> Result<Flow> {
        let Some((key, entry)) = self.look_up(ctx, request).await else { return Ok(Flow::Continue) };
        Ok(ShortCircuit::respond_json(entry.response())
            .with_metadata("cache_hit", true)
            .with_metadata("cache_key", key.to_string())
            .into())
    }

    async fn pre_stream_hook(&self, ctx: &mut Context<'_>, request: &mut Request<'_>) -> Result<StreamFlow> {
        let Some((key, entry)) = self.look_up(ctx, request).await else { return Ok(StreamFlow::Continue) };
        let key = key.to_string();
        if entry.events().is_none() {
            // The host makes a stream of a response.
            let answer = ShortCircuit::respond_json(entry.response());
            return Ok(answer.with_metadata("cache_hit", true).with_metadata("cache_key", key).into());
        }
        Ok(Streamed::events(entry::replay(entry))
            .with_metadata("cache_hit", true)
            .with_metadata("cache_key", key)
            .into())
    }

    async fn post_hook(&self, ctx: &mut Context<'_>, outcome: &mut Outcome<'_>) -> Result<()> {
        let seen = ctx.state::<Seen>();
        if seen.key.is_some()
            && let Some(response) = outcome.response()
            && is_answer(&response)
            && let Some(text) = response.text("")
        {
            // Too large to store is not too large for those who wait for it now.
            if text.len() <= self.max_entry_bytes || seen.lead.is_some() {
                seen.gathered = Gathered::Response(text.to_owned());
            }
        }
        Ok(())
    }

    async fn on_stream_chunk(&self, ctx: &mut Context<'_>, chunk: &mut Chunk<'_>) -> Result<ChunkFlow> {
        let seen = ctx.state::<Seen>();
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

    async fn on_complete(&self, ctx: &mut Context<'_>, completion: &Completion<'_>) {
        let attempt = ctx.attempt();
        let Seen { attempt: seen_at, key, gathered, lead } = std::mem::take(ctx.state::<Seen>());
        let Some(key) = key.filter(|_| completion.completed() && seen_at == attempt) else { return };
        let Some(entry) = gathered.into_entry().map(Arc::new) else { return };
        // Those who wait do not wait for the store as well. The place is kept until it has the answer, so that
        // whoever comes in between finds it in one or the other.
        if let Some(lead) = &lead {
            lead.land(Arc::clone(&entry));
        }
        if entry.size() <= self.max_entry_bytes {
            self.store.put(&key, entry, self.ttl).await;
        }
        drop(lead);
    }

    async fn cleanup(&self) -> Result<()> {
        self.store.close().await;
        Ok(())
    }
}

export_plugin!(Cache, name: "cache", priority: 10);

/// Builds a [`Cache`] with what a configuration file cannot say.
#[derive(Default)]
pub struct Builder {
    config: Config,
    closure: Option<KeyClosure>,
    store: Option<Store>,
}

impl Builder {
    /// Starts from a whole configuration; what is set after it overrides it.
    pub fn config(mut self, config: Config) -> Self {
        self.config = config;
        self
    }

    /// How long an answer is kept. Default one hour.
    pub fn ttl(mut self, ttl: Duration) -> Self {
        self.config.ttl = ttl;
        self
    }

    /// Do identical misses wait for one? Default no.
    pub fn coalesce(mut self, coalesce: bool) -> Self {
        self.config.coalesce = coalesce;
        self
    }

    /// May tenants share answers? Default no.
    pub fn shared(mut self, shared: bool) -> Self {
        self.config.shared = shared;
        self
    }

    /// Which requests are the same: those for which the closure says the same, within one endpoint and,
    /// unless `shared`, one tenant. `None` keeps a request out of the cache.
    pub fn key(
        mut self,
        key: impl Fn(&Context<'_>, &Request<'_>) -> Option<String> + Send + Sync + 'static,
    ) -> Self {
        self.closure = Some(Arc::new(key));
        self
    }

    /// Keeps answers in a place of your own. Overrides the configuration's `backend`.
    pub fn backend(mut self, backend: impl CacheBackend) -> Self {
        self.store = Some(Store::own(backend));
        self
    }

    /// Returns the plugin, for [`llmux_abi::host::instance`].
    ///
    /// # Errors
    ///
    /// When the configuration contradicts itself, or the Redis URL is none.
    pub fn build(self, host: Host) -> Result<Cache> {
        Cache::with(&self.config, self.closure, self.store, host)
    }
}
