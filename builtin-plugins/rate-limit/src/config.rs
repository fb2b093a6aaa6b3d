//! The configuration of the rate-limit plugin: its shape, its defaults, and what is refused.
//!
//! Read by the host (schema) and by `RateLimit::new`.

use std::{num::NonZeroU32, time::Duration};

use llmux_abi::{Error, Result};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The configuration. `{}` limits each API key to 10 requests a second.
#[derive(Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// How many requests a second each key gets on average: 0.000001 to 1000000.
    pub requests_per_second: f64,
    /// How many requests a key may make at once, after a pause. Default: one second's worth, at least 1.
    #[schemars(range(min = 1))]
    pub burst: Option<u32>,
    /// How many tokens a minute each key gets, charged from the answers' usage. A request is refused while
    /// the key has none left; the answer that used more than was left puts it in debt. Default: no limit.
    #[schemars(range(min = 1))]
    pub tokens_per_minute: Option<u64>,
    /// Whose limit a request counts against: `global`, `api_key`, `user`, `model`, `header:NAME`, `value:NAME`
    /// (a context value), or a list of these combined. A request without one shares a limit with all others
    /// without it.
    pub key: KeyConfig,
    /// How many keys are kept in this process. Keys beyond it share one limit until others are idle again.
    #[schemars(range(min = 16))]
    pub max_keys: usize,
    /// Where the limit is kept.
    pub backend: Backend,
    /// The Redis server, as `redis://[user:password@]host[:port][/database]`.
    pub url: Option<String>,
    /// What the names of this plugin's keys in Redis begin with. Hosts with one prefix share one limit; two
    /// instances with different limits need different ones.
    pub prefix: String,
    /// How long a decision of Redis may take, as `250ms`.
    #[serde(with = "humantime_serde")]
    #[schemars(with = "String")]
    pub timeout: Duration,
    /// What happens while Redis is away: `allow` lets this process's own limiter decide, `deny` refuses
    /// every request with 503.
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
            backend: Backend::Memory,
            url: None,
            prefix: "llmux:limit:".to_owned(),
            timeout: Duration::from_millis(250),
            on_backend_error: OnBackendError::Allow,
        }
    }
}

/// One part of the key, or several.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum KeyConfig {
    /// One part.
    One(String),
    /// These parts together.
    Many(Vec<String>),
}

/// Where the limit is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Backend {
    /// In this process.
    Memory,
    /// In Redis, shared by all hosts that use it.
    Redis,
}

/// What happens while Redis is away.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum OnBackendError {
    /// This process's own limiter decides.
    Allow,
    /// Every request is refused.
    Deny,
}

/// The limits of one key, checked.
pub(crate) struct Limits {
    /// The time in which one request comes back.
    pub(crate) interval: Duration,
    /// The bucket's size.
    pub(crate) burst: NonZeroU32,
    pub(crate) tokens_per_minute: Option<u64>,
}

impl Config {
    /// The limits that this configuration means.
    pub(crate) fn limits(&self) -> Result<Limits> {
        let rate = self.requests_per_second;
        if !(1e-6..=1e6).contains(&rate) {
            return Err(Error::new("`requests_per_second` must be between 0.000001 and 1000000"));
        }
        let interval = Duration::from_secs_f64(1.0 / rate);
        let burst = self.burst.unwrap_or(rate.ceil().max(1.0) as u32);
        let burst = NonZeroU32::new(burst).ok_or_else(|| Error::new("`burst` must be at least 1"))?;
        // Beyond a few centuries the limiter's 64 bits of nanoseconds would overflow.
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
        if self.backend == Backend::Redis && self.url.is_none() {
            return Err(Error::new("backend `redis` needs a `url`"));
        }
        if self.timeout.is_zero() {
            return Err(Error::new("`timeout` must be more than nothing"));
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
            (json!({"backend": "redis"}), "url"),
            (json!({"backend": "sqlite"}), "sqlite"),
            (json!({"timeout": "0s"}), "timeout"),
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
