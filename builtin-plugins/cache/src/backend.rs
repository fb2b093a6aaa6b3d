//! The storage of answers: the public trait for custom backends, and the store that the plugin calls.
//!
//! Errors of a backend end here: they are logged, and a failed read counts as a miss.

use std::{future::Future, pin::Pin, sync::Arc, time::Duration};

use llmux_abi::{Host, Result};
use llmux_redis_link::RedisConfig;

use crate::{config::Config, entry::Entry, key::Key, memory::Memory, remote::Remote};

/// A host's own storage of answers, for [`Builder::backend`](crate::Builder::backend).
pub trait CacheBackend: Send + Sync + 'static {
    /// Returns the answer stored under a key, if any. Called before a request is sent to the provider; the request
    /// waits for it.
    ///
    /// An `Err` is logged and counts as a miss.
    fn get(&self, key: &Key) -> impl Future<Output = Result<Option<Arc<Entry>>>> + Send;

    /// Stores an answer for `ttl` and replaces an earlier answer under this key. Called after the request is over;
    /// no request waits for it.
    ///
    /// An `Err` is logged; the answer is then not stored.
    fn put(&self, key: &Key, entry: Arc<Entry>, ttl: Duration) -> impl Future<Output = Result<()>> + Send;
}

/// The storage that an instance uses.
pub(crate) enum Store {
    Memory(Arc<Memory>),
    Redis(Remote),
    Own(Box<dyn Erased>),
}

impl Store {
    pub(crate) fn memory(config: &Config, host: &Host) -> Self {
        Store::Memory(Memory::new(config, host))
    }

    pub(crate) fn redis(config: &RedisConfig, host: &Host) -> Result<Self> {
        Ok(Store::Redis(Remote::open(config, host)?))
    }

    pub(crate) fn own(backend: impl CacheBackend) -> Self {
        Store::Own(Box::new(backend))
    }

    pub(crate) async fn get(&self, key: &Key) -> Option<Arc<Entry>> {
        let found = match self {
            Store::Memory(memory) => return memory.get(key),
            Store::Redis(remote) => remote.get(key).await,
            Store::Own(own) => own.get(key).await,
        };
        found.unwrap_or_else(|error| {
            tracing::debug!(%error, "the cache cannot be read");
            None
        })
    }

    pub(crate) async fn put(&self, key: &Key, entry: Arc<Entry>, ttl: Duration) {
        match self {
            Store::Memory(memory) => memory.put(key, entry),
            Store::Redis(remote) => remote.put(key, &entry, ttl),
            Store::Own(own) => {
                if let Err(error) = own.put(key, entry, ttl).await {
                    tracing::warn!(%error, "the cache cannot be written");
                }
            }
        }
    }

    pub(crate) async fn close(&self) {
        if let Store::Redis(remote) = self {
            remote.close().await;
        }
    }
}

type Boxed<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// A [`CacheBackend`] of any type, usable as a trait object.
pub(crate) trait Erased: Send + Sync {
    fn get<'a>(&'a self, key: &'a Key) -> Boxed<'a, Result<Option<Arc<Entry>>>>;
    fn put<'a>(&'a self, key: &'a Key, entry: Arc<Entry>, ttl: Duration) -> Boxed<'a, Result<()>>;
}

impl<B: CacheBackend> Erased for B {
    fn get<'a>(&'a self, key: &'a Key) -> Boxed<'a, Result<Option<Arc<Entry>>>> {
        Box::pin(CacheBackend::get(self, key))
    }

    fn put<'a>(&'a self, key: &'a Key, entry: Arc<Entry>, ttl: Duration) -> Boxed<'a, Result<()>> {
        Box::pin(CacheBackend::put(self, key, entry, ttl))
    }
}
