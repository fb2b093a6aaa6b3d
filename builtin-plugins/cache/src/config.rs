//! The configuration of the cache plugin: its shape, its defaults, and its checks.
//!
//! Read by the host (schema) and by `Cache::new`.

use std::{path::PathBuf, time::Duration};

use llmux_abi::{Error, Result};
use llmux_redis_link::Settings;
use llmux_request_part::Part;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The configuration of the plugin. `{}` keeps up to 10,000 answers in memory for an hour.
#[derive(Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// The storage of answers: `memory` or `redis`.
    pub backend: Backend,
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
    /// The Redis server, as `redis://[user:password@]host[:port][/database]`, or `rediss://` for TLS. Several servers of a
    /// cluster, or several sentinels, are separated by commas. `redis` needs this, `url_env` or `url_file`.
    pub url: Option<String>,
    /// Environment variable that holds the URL.
    pub url_env: Option<String>,
    /// File that holds the URL.
    pub url_file: Option<PathBuf>,
    /// Certificates in PEM format that the certificate of a `rediss://` server is checked against. Default: the system's.
    pub ca_file: Option<PathBuf>,
    /// `true`: the URLs name servers of a Redis Cluster.
    pub cluster: bool,
    /// Name of the master. The URLs then name sentinels; user, password and database are those of the master.
    pub sentinel: Option<String>,
    /// `true`: the sentinels take the user and the password of the URL, too.
    pub sentinel_auth: bool,
    /// Prefix of the keys in Redis.
    pub prefix: String,
    /// Longest wait for Redis, as `250ms`. A slower read counts as a miss.
    #[serde(with = "humantime_serde")]
    #[schemars(with = "String")]
    pub timeout: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            backend: Backend::Memory,
            ttl: Duration::from_secs(3_600),
            max_entries: 10_000,
            max_bytes: 256 << 20,
            max_entry_bytes: 1 << 20,
            shared: false,
            vary: Vec::new(),
            coalesce: false,
            url: None,
            url_env: None,
            url_file: None,
            ca_file: None,
            cluster: false,
            sentinel: None,
            sentinel_auth: false,
            prefix: "llmux:cache:".to_owned(),
            timeout: Duration::from_millis(250),
        }
    }
}

/// The storage of answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Backend {
    /// The memory of this process.
    Memory,
    /// A Redis server, shared by all hosts that use it.
    Redis,
}

impl Config {
    /// Returns the parts of `vary`.
    pub(crate) fn parts(&self) -> Result<Vec<Part>> {
        let part = |text: &String| {
            Part::parse(text).map_err(|error| Error::new(format!("vary {}", error.message())))
        };
        self.vary.iter().map(part).collect()
    }

    /// Returns the settings of the link to Redis.
    pub(crate) fn redis(&self) -> Settings {
        let mut settings = Settings::new("", self.timeout);
        settings.url.clone_from(&self.url);
        settings.url_env.clone_from(&self.url_env);
        settings.url_file.clone_from(&self.url_file);
        settings.ca_file.clone_from(&self.ca_file);
        settings.cluster = self.cluster;
        settings.sentinel.clone_from(&self.sentinel);
        settings.sentinel_auth = self.sentinel_auth;
        settings
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
        if self.backend == Backend::Redis {
            self.redis().check().map_err(Error::new)?;
        }
        if self.timeout.is_zero() {
            return refuse("`timeout` must be greater than 0");
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
            (json!({"backend": "redis"}), "url"),
            (json!({"backend": "redis", "url": "redis://a", "url_env": "A"}), "url_env"),
            (json!({"backend": "redis", "url": "redis://a", "cluster": true, "sentinel": "m"}), "sentinel"),
            (json!({"backend": "disk"}), "disk"),
            (json!({"tll": "1h"}), "tll"),
            (json!({"vary": ["x-tier"]}), "vary `x-tier`"),
            (json!({"vary": ["header:Authorization"]}), "redacted"),
        ] {
            let error = check(config).expect_err(named);
            assert!(error.contains(named), "{error}");
        }
    }
}
