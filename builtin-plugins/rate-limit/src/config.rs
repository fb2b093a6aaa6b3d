//! The configuration of the rate-limit plugin: its shape, its defaults, and its checks.
//!
//! Read by the host (schema) and by `RateLimit::new`.

use std::{num::NonZeroU32, time::Duration};

use llmux_abi::{Error, Result};
use llmux_redis_link::RedisConfig;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The configuration of the plugin. `{}` limits each API key to 10 requests per second.
#[derive(Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Requests per second that each key gets on average, 0.000001 to 1,000,000.
    pub requests_per_second: f64,
    /// Size of the bucket: requests that a key may make at once after a pause. Default: one second's worth, at least 1.
    #[schemars(range(min = 1))]
    pub burst: Option<u32>,
    /// Tokens per minute that each key gets. A request is refused while the key has no tokens left. An admitted request
    /// reserves a quarter of the bytes of its body, and its `max_tokens` as up to 1,024. At its end, the usage that
    /// providers reported (or the host's estimate) takes the place of the reservation. If more tokens were used than were
    /// left, the balance becomes negative. Default: no limit.
    #[schemars(range(min = 1))]
    pub tokens_per_minute: Option<u64>,
    /// Key whose limit a request counts against: `global`, `api_key`, `user`, `model`, `header:NAME`, `value:NAME` (a
    /// value of the context), or a list of these combined. Requests without a value for the key share one limit.
    pub key: KeyConfig,
    /// Keys that this process keeps, at least 16. Further keys share one limit until other keys are idle again.
    #[schemars(range(min = 16))]
    pub max_keys: usize,
    /// The Redis server that decides, so that all hosts that use it have one limit. Default: none, so that each process has its
    /// own limit.
    #[schemars(with = "RedisConfig")]
    pub redis: Option<RedisConfig>,
    /// Decision while Redis is unavailable: `allow` lets the limiter of this process decide, `deny` refuses every
    /// request with 503.
    pub on_backend_error: OnBackendError,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            requests_per_second: 10.0,
            burst: None,
            tokens_per_minute: None,
            key: KeyConfig::One("api_key".to_owned()),
            max_keys: 100_000,
            redis: None,
            on_backend_error: OnBackendError::Allow,
        }
    }
}

/// The parts of the key: one or several.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum KeyConfig {
    /// One part.
    One(String),
    /// Several parts, combined.
    Many(Vec<String>),
}

/// The decision while Redis is unavailable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum OnBackendError {
    /// The limiter of this process decides.
    Allow,
    /// Every request is refused with 503.
    Deny,
}

/// The limits of one key, checked.
pub(crate) struct Limits {
    /// The time after which one more request is allowed.
    pub(crate) interval: Duration,
    /// The size of the bucket.
    pub(crate) burst: NonZeroU32,
    pub(crate) tokens_per_minute: Option<u64>,
}

impl Config {
    /// Checks this configuration and returns its limits.
    pub(crate) fn limits(&self) -> Result<Limits> {
        let rate = self.requests_per_second;
        if !(1e-6..=1e6).contains(&rate) {
            return Err(Error::new("`requests_per_second` must be between 0.000001 and 1000000"));
        }
        let interval = Duration::from_secs_f64(1.0 / rate);
        let burst = self.burst.unwrap_or(rate.ceil().max(1.0) as u32);
        let burst = NonZeroU32::new(burst).ok_or_else(|| Error::new("`burst` must be at least 1"))?;
        // The limiter counts nanoseconds in 64 bits, which overflow after a few centuries.
        const YEAR: f64 = 365.0 * 86_400.0;
        if interval.as_secs_f64() * f64::from(burst.get()) > 10.0 * YEAR {
            return Err(Error::new("`burst` requests at `requests_per_second` take more than ten years"));
        }
        if self.tokens_per_minute.is_some_and(|tokens| !(1..=1_000_000_000_000).contains(&tokens)) {
            return Err(Error::new("`tokens_per_minute` must be between 1 and 1000000000000"));
        }
        if self.max_keys < 16 {
            return Err(Error::new("`max_keys` must be at least 16"));
        }
        if let Some(redis) = &self.redis {
            redis.check().map_err(Error::new)?;
        }
        Ok(Limits { interval, burst, tokens_per_minute: self.tokens_per_minute })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn limits(config: serde_json::Value) -> Result<Limits, String> {
        let config: Config = serde_json::from_value(config).map_err(|error| error.to_string())?;
        config.limits().map_err(|error| error.to_string())
    }

    #[test]
    fn no_configuration_is_a_configuration() {
        let limits = limits(json!({})).expect("limits");
        assert_eq!(limits.burst.get(), 10);
        assert_eq!(limits.interval, Duration::from_millis(100));
    }

    #[test]
    fn what_makes_no_sense_is_refused_by_name() {
        for (config, named) in [
            (json!({"requests_per_second": 0}), "requests_per_second"),
            (json!({"requests_per_second": 1e9}), "requests_per_second"),
            (json!({"burst": 0}), "burst"),
            (json!({"requests_per_second": 1e-6, "burst": 1_000_000}), "burst"),
            (json!({"tokens_per_minute": 0}), "tokens_per_minute"),
            (json!({"max_keys": 1}), "max_keys"),
            (json!({"redis": {}}), "redis.url"),
            (json!({"redis": {"url": "redis://a", "url_env": "A"}}), "redis.url_env"),
            (json!({"redis": {"url": "redis://a", "cluster": true, "sentinel": "m"}}), "redis.sentinel"),
            (json!({"redis": {"sentinal": "m"}}), "sentinal"),
            (json!({"redis": {"url": "redis://a", "timeout": "0s"}}), "redis.timeout"),
            (json!({"request_per_second": 1}), "request_per_second"),
        ] {
            let error = limits(config).err().expect(named);
            assert!(error.contains(named), "{error}");
        }
    }

    #[test]
    fn a_slow_limit_still_lets_one_through() {
        assert_eq!(limits(json!({"requests_per_second": 0.01})).expect("limits").burst.get(), 1);
    }
}
