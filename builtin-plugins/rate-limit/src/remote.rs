//! The limiter that hosts share: the same token buckets, kept and decided in a Redis server.
//!
//! One script decides about requests and tokens in one step, on the server's clock. The clocks of the hosts need not
//! agree, and two hosts cannot both take the last request of a bucket. A bucket is one number, the time at which it is
//! full again (GCRA). Its key expires at that time, so Redis removes idle keys.
//!
//! Names: `PREFIX{KEY}:requests` and `PREFIX{KEY}:tokens`; the braces keep both on one node of a cluster.

use std::{sync::LazyLock, time::Duration};

use llmux_abi::Result;
use llmux_redis_link::{Error, Link, RedisConfig, health::Report};
use redis::Script;

use crate::{
    answer::{Decision, Limit, Refusal},
    config::Limits,
    local::Settlement,
};

/// Prefix of the keys, unless another is configured.
const PREFIX: &str = "llmux:limit:";

const MINUTE_MICROS: f64 = 60e6;

/// Script that decides about one request, and reserves its tokens. Returns four numbers: the limit that refuses (0: none, 1: requests, 2:
/// tokens), the remaining requests, the microseconds to wait, and the microseconds until the bucket is full.
///
/// A double resolves a time of this size to a quarter of a microsecond, hence the tolerance of one.
static DECIDE: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        r"
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local interval, burst, token, reserved = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local full_at = math.max(tonumber(redis.call('GET', KEYS[1]) or now), now)
local function remaining(at)
  return math.max(0, math.floor(burst - (at - now) / interval + 0.001))
end
local function set(key, at)
  redis.call('SET', key, string.format('%.3f', at), 'PX', math.max(1, math.ceil((at - now) / 1000)))
end
local tokens_at = now
if token > 0 then
  tokens_at = math.max(tonumber(redis.call('GET', KEYS[2]) or now), now)
  local wait = tokens_at - now - (60000000 - token)
  if wait > 1 then
    return {2, remaining(full_at), math.ceil(wait), math.ceil(full_at - now)}
  end
end
local wait = full_at - now - interval * (burst - 1)
if wait > 1 then
  return {1, 0, math.ceil(wait), math.ceil(full_at - now)}
end
full_at = full_at + interval
set(KEYS[1], full_at)
if reserved > 0 then
  set(KEYS[2], tokens_at + reserved)
end
return {0, remaining(full_at), 0, math.ceil(full_at - now)}
",
    )
});

/// Script that settles a request: charges further attempts, and the used tokens instead of the reserved ones. Both balances
/// may become negative.
static SETTLE: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        r"
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local function charge(key, released, charged)
  if released ~= charged then
    local at = math.max(tonumber(redis.call('GET', key) or now) - released, now) + charged
    redis.call('SET', key, string.format('%.3f', at), 'PX', math.max(1, math.ceil((at - now) / 1000)))
  end
end
charge(KEYS[1], 0, tonumber(ARGV[1]))
charge(KEYS[2], tonumber(ARGV[2]), tonumber(ARGV[3]))
return 1
",
    )
});

/// The limiter in Redis.
pub(crate) struct Remote {
    link: Link,
    prefix: String,
    /// Microseconds after which one more request is allowed.
    interval: f64,
    burst: u32,
    /// Microseconds in which a bucket gains one token; 0 for no limit.
    token: f64,
}

impl Remote {
    pub(crate) fn open(config: &RedisConfig, limits: &Limits, report: Report) -> Result<Self> {
        Ok(Self {
            link: Link::open(config, report).map_err(llmux_abi::Error::new)?,
            prefix: config.prefix_or(PREFIX),
            interval: limits.interval.as_secs_f64() * 1e6,
            burst: limits.burst.get(),
            token: limits.tokens_per_minute.map_or(0.0, |tokens| MINUTE_MICROS / tokens as f64),
        })
    }

    fn name(&self, key: &str, what: &str) -> String {
        // Empty braces would not keep both names on one node.
        let filled = if key.is_empty() || key.starts_with('}') { "%" } else { "" };
        format!("{}{{{filled}{key}}}:{what}", self.prefix)
    }

    /// Decides about a request of a key. An allowed request is counted, and its tokens are reserved.
    pub(crate) async fn decide(&self, key: &str, reserved: u64) -> Result<Decision, Error> {
        // An unavailable server is the common error; the names are not built for it.
        if !self.link.is_up() {
            return Err(Error::Away);
        }
        let (requests, tokens) = (self.name(key, "requests"), self.name(key, "tokens"));
        let (interval, burst, token) = (self.interval, self.burst, self.token);
        let reserved = token * reserved as f64;
        let answer = self.link.call(async move |mut connection| {
            let mut script = DECIDE.key(requests);
            script.key(tokens).arg(interval).arg(burst).arg(token).arg(reserved);
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

    /// Charges a request at its end: the attempts beyond the first, and the used tokens instead of the reserved ones.
    pub(crate) async fn settle(&self, key: &str, settlement: Settlement) -> Result<(), Error> {
        let Settlement { requests, reserved, used } = settlement;
        if requests == 0 && reserved == used {
            return Ok(());
        }
        let (counted, tokens) = (self.name(key, "requests"), self.name(key, "tokens"));
        let requests = self.interval * f64::from(requests);
        let [reserved, used] = [reserved, used].map(|tokens| self.token * tokens as f64);
        let answer = self.link.call(async move |mut connection| {
            let mut script = SETTLE.key(counted);
            script.key(tokens).arg(requests).arg(reserved).arg(used);
            script.invoke_async::<u8>(&mut connection).await
        });
        answer.await.map(drop)
    }

    pub(crate) async fn close(&self) {
        self.link.close().await;
    }
}

#[cfg(test)]
mod tests;
