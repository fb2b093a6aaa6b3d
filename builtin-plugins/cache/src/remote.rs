//! Answers in Redis, shared by all hosts that use the server.
//!
//! An entry is JSON text under the name `PREFIX` + key, and the server expires it. If the server is unavailable or
//! slow, or holds a value that is not an entry, a read is a miss and never an error for the client. A store is sent
//! without waiting for the reply. At most 256 stores are under way at a time; further stores are dropped and counted.

use std::{sync::Arc, time::Duration};

use llmux_abi::{Counter, Host, Result};
use llmux_redis_link::{
    Link, RedisConfig,
    health::{self, Report},
};

use crate::{entry::Entry, key::Key};

/// Prefix of the keys, unless another is configured.
const PREFIX: &str = "llmux:cache:";

/// The answers kept in Redis.
pub(crate) struct Remote {
    link: Link,
    prefix: String,
    dropped: Option<Counter>,
}

impl Remote {
    pub(crate) fn open(config: &RedisConfig, host: &Host) -> Result<Self> {
        let help = "Answers that were not stored because Redis was unavailable or busy";
        let dropped = host.counter("llmux_cache_stores_dropped_total", help, &[]);
        if let Err(error) = &dropped {
            tracing::warn!(%error, "dropped stores are not counted");
        }
        Self::with(config, dropped.ok(), health::gauge(host))
    }

    fn with(config: &RedisConfig, dropped: Option<Counter>, report: Report) -> Result<Self> {
        let link = Link::open(config, report).map_err(llmux_abi::Error::new)?;
        Ok(Self { link, prefix: config.prefix_or(PREFIX), dropped })
    }

    fn name(&self, key: &Key) -> String {
        format!("{}{key}", self.prefix)
    }

    pub(crate) async fn get(&self, key: &Key) -> Result<Option<Arc<Entry>>> {
        // The link logs once that the server is unavailable, not at every request.
        if !self.link.is_up() {
            return Ok(None);
        }
        let name = self.name(key);
        let found = self.link.call(async move |mut connection| {
            redis::cmd("GET").arg(name).query_async::<Option<Vec<u8>>>(&mut connection).await
        });
        match found.await? {
            None => Ok(None),
            Some(text) => Ok(Some(Arc::new(serde_json::from_slice(&text)?))),
        }
    }

    pub(crate) fn put(&self, key: &Key, entry: &Entry, ttl: Duration) {
        let sent = self.link.is_up()
            && serde_json::to_vec(entry).is_ok_and(|text| {
                let name = self.name(key);
                let millis = u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX);
                self.link.send(async move |mut connection| {
                    let mut set = redis::cmd("SET");
                    set.arg(name).arg(text).arg("PX").arg(millis);
                    set.query_async::<()>(&mut connection).await
                })
            });
        if !sent {
            tracing::debug!("an answer is not stored: redis is unavailable or busy");
            if let Some(dropped) = &self.dropped {
                dropped.increment(&[]);
            }
        }
    }

    pub(crate) async fn close(&self) {
        self.link.close().await;
    }
}

#[cfg(test)]
mod tests;
