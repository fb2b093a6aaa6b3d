//! The limiter that hosts share: the same token buckets, kept and decided in a Redis server.
//!
//! One script decides on requests and tokens at once, on the server's clock, so that hosts need not agree on
//! the time and two of them cannot both take the last place. A bucket is one number, the moment at which it
//! is full again (GCRA), and its key expires at that moment: idle keys leave by themselves.
//!
//! Names: `PREFIX{KEY}:requests` and `PREFIX{KEY}:tokens`; the braces keep both on one node of a cluster.

use std::{
    sync::{Arc, LazyLock},
    time::Duration,
};

use llmux_abi::Result;
use llmux_redis_link::{Error, Link};
use redis::Script;

use crate::{
    answer::{Decision, Limit, Refusal},
    config::{Config, Limits},
};

const MINUTE_MICROS: f64 = 60e6;

/// Answers `{which limit refuses or 0, remaining requests, microseconds to wait, microseconds until full}`.
/// A number of this size keeps a quarter of a microsecond as a double, hence the tolerance of one.
static DECIDE: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        r"
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local interval, burst, token = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local full_at = math.max(tonumber(redis.call('GET', KEYS[1]) or now), now)
local function remaining(at)
  return math.max(0, math.floor(burst - (at - now) / interval + 0.001))
end
if token > 0 then
  local wait = tonumber(redis.call('GET', KEYS[2]) or now) - now - (60000000 - token)
  if wait > 1 then
    return {2, remaining(full_at), math.ceil(wait), math.ceil(full_at - now)}
  end
end
local wait = full_at - now - interval * (burst - 1)
if wait > 1 then
  return {1, 0, math.ceil(wait), math.ceil(full_at - now)}
end
full_at = full_at + interval
redis.call('SET', KEYS[1], string.format('%.3f', full_at), 'PX', math.max(1, math.ceil((full_at - now) / 1000)))
return {0, remaining(full_at), 0, math.ceil(full_at - now)}
",
    )
});

/// Takes tokens, more than there are if need be.
static CHARGE: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        r"
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local full_at = math.max(tonumber(redis.call('GET', KEYS[1]) or now), now) + tonumber(ARGV[1])
redis.call('SET', KEYS[1], string.format('%.3f', full_at), 'PX', math.max(1, math.ceil((full_at - now) / 1000)))
return 1
",
    )
});

/// The limiter.
pub(crate) struct Remote {
    link: Link,
    prefix: String,
    /// Microseconds in which a request comes back.
    interval: f64,
    burst: u32,
    /// Microseconds in which a token comes back; 0 for no limit.
    token: f64,
}

impl Remote {
    pub(crate) fn open(config: &Config, limits: &Limits) -> Result<Self> {
        let url = config.url.as_deref().unwrap_or_default();
        Ok(Self {
            link: Link::open(url, config.timeout).map_err(llmux_abi::Error::new)?,
            prefix: config.prefix.clone(),
            interval: limits.interval.as_secs_f64() * 1e6,
            burst: limits.burst.get(),
            token: limits.tokens_per_minute.map_or(0.0, |tokens| MINUTE_MICROS / tokens as f64),
        })
    }

    fn name(&self, key: &str, what: &str) -> String {
        format!("{}{{{key}}}:{what}", self.prefix)
    }

    /// May a request of this key go on? If so, it is counted.
    pub(crate) async fn decide(&self, key: &str) -> Result<Decision, Error> {
        // Away is the common error, and needs no names.
        if !self.link.is_up() {
            return Err(Error::Away);
        }
        let (requests, tokens) = (self.name(key, "requests"), self.name(key, "tokens"));
        let (interval, burst, token) = (self.interval, self.burst, self.token);
        let answer = self.link.call(async move |mut connection| {
            let mut script = DECIDE.key(requests);
            script.key(tokens).arg(interval).arg(burst).arg(token);
            script.invoke_async::<(u8, u32, u64, u64)>(&mut connection).await
        });
        let (refused_by, remaining, wait, reset) = answer.await?;
        let what = match refused_by {
            0 => None,
            1 => Some(Limit::Requests),
            _ => Some(Limit::Tokens),
        };
        let refused = what.map(|what| Refusal { what, retry_after: Duration::from_micros(wait) });
        Ok(Decision { remaining, reset: Duration::from_micros(reset), refused })
    }

    /// Takes tokens from a key.
    pub(crate) async fn charge(&self, key: &str, tokens: u64) -> Result<(), Error> {
        let name: Arc<str> = self.name(key, "tokens").into();
        let worth = self.token * tokens as f64;
        let answer = self.link.call(async move |mut connection| {
            CHARGE.key(&*name).arg(worth).invoke_async::<u8>(&mut connection).await
        });
        answer.await.map(drop)
    }

    pub(crate) async fn close(&self) {
        self.link.close().await;
    }
}

#[cfg(test)]
mod tests;
