//! The configuration of the cache plugin: its shape, its defaults, and its checks.
//!
//! Read by the host (schema) and by `Cache::new`.

use std::time::Duration;

use llmux_abi::{Error, Result};
use llmux_redis_link::RedisConfig;
use llmux_request_part::Part;
use schemars::JsonSchema;
use serde::Deserialize;

/// The configuration of the plugin. `{}` keeps up to 10,000 answers in memory for an hour.
#[derive(Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Time that an answer is kept, as `1h`: one second to ten years.
    #[serde(with = "humantime_serde")]
    #[schemars(with = "String")]
    pub ttl: Duration,
    /// Largest number of answers that are kept in memory.
    #[schemars(range(min = 1))]
    pub max_entries: u64,
    /// Largest number of bytes of answers that are kept in memory. An answer counts as at least
    /// `max_bytes / max_entries`, so that this bound also enforces `max_entries`.
    #[schemars(range(min = 1))]
    pub max_bytes: u64,
    /// Largest answer that is stored, in bytes.
    #[schemars(range(min = 1))]
    pub max_entry_bytes: usize,
    /// `true`: requests with different API keys share answers.
    pub shared: bool,
    /// Further parts of a request that tell answers apart: `header:NAME`, `user`, `value:NAME` (a value of the context at
    /// the cache's turn), `api_key`, `model`. Name here what later plugins or providers decide by, beyond the body.
    pub vary: Vec<String>,
    /// `true`: identical plain requests that miss at the same time wait for one call. Streams never wait.
    pub coalesce: bool,
    /// The Redis server that has the answers, shared by all hosts that use it. Default: none, so that this process has them.
    #[schemars(with = "RedisConfig")]
    pub redis: Option<RedisConfig>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            ttl: Duration::from_secs(3_600),
            max_entries: 10_000,
            max_bytes: 256 << 20,
            max_entry_bytes: 1 << 20,
            shared: false,
            vary: Vec::new(),
            coalesce: false,
            redis: None,
        }
    }
}

impl Config {
    /// Returns the parts of `vary`.
    pub(crate) fn parts(&self) -> Result<Vec<Part>> {
        let part = |text: &String| {
            Part::parse(text).map_err(|error| Error::new(format!("vary {}", error.message())))
        };
        self.vary.iter().map(part).collect()
    }

    pub(crate) fn check(&self) -> Result<()> {
        const TEN_YEARS: Duration = Duration::from_secs(10 * 365 * 86_400);
        let refuse = |why: &str| Err(Error::new(why));
        if !(Duration::from_secs(1)..=TEN_YEARS).contains(&self.ttl) {
            return refuse("`ttl` must be between one second and ten years");
        }
        if self.max_entries == 0 || self.max_bytes == 0 || self.max_entry_bytes == 0 {
            return refuse("`max_entries`, `max_bytes` and `max_entry_bytes` must be at least 1");
        }
        if let Some(redis) = &self.redis {
            redis.check().map_err(Error::new)?;
        }
        self.parts().map(drop)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn check(config: serde_json::Value) -> Result<(), String> {
        let config: Config = serde_json::from_value(config).map_err(|error| error.to_string())?;
        config.check().map_err(|error| error.to_string())
    }

    #[test]
    fn no_configuration_is_a_configuration() {
        check(json!({})).expect("the defaults");
    }

    #[test]
    fn what_makes_no_sense_is_refused_by_name() {
        for (config, named) in [
            (json!({"ttl": "0s"}), "ttl"),
            (json!({"ttl": 3600}), "duration"),
            (json!({"max_entries": 0}), "max_entries"),
            (json!({"redis": {}}), "redis.url"),
            (json!({"redis": {"url": "redis://a", "url_env": "A"}}), "redis.url_env"),
            (json!({"redis": {"url": "redis://a", "cluster": true, "sentinel": "m"}}), "redis.sentinel"),
            (json!({"redis": {"sentinal": "m"}}), "sentinal"),
            (json!({"tll": "1h"}), "tll"),
            (json!({"vary": ["x-tier"]}), "vary `x-tier`"),
            (json!({"vary": ["header:Authorization"]}), "redacted"),
        ] {
            let error = check(config).expect_err(named);
            assert!(error.contains(named), "{error}");
        }
    }
}
