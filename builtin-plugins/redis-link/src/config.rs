//! The table `redis` of a plugin's configuration, and the servers that it names.
//!
//! A URL may contain a password, so no message repeats it, and the table has no `Debug`.

use std::{env, fs, path::PathBuf, time::Duration};

use redis::{
    Client, ConnectionAddr, ConnectionInfo, IntoConnectionInfo, TlsCertificates, TlsMode,
    cluster::ClusterClient,
    io::tcp::TcpSettings,
    sentinel::{SentinelClientBuilder, SentinelServerType},
};
use schemars::JsonSchema;
use serde::Deserialize;

use crate::target::Target;

/// Longest `timeout` that is accepted.
const LONGEST_TIMEOUT: Duration = Duration::from_secs(60);

/// The Redis server of a plugin: the table `redis` of its configuration. Hosts with one server share the plugin's state.
#[derive(Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[non_exhaustive]
pub struct RedisConfig {
    /// The server, as `redis://[user:password@]host[:port][/database]`, or `rediss://` for TLS. Several servers of a
    /// cluster, or several sentinels, are separated by commas. One of `url`, `url_env` and `url_file` is needed.
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
    /// Prefix of the keys in Redis. Instances with the same prefix share their state, so instances with different limits
    /// need different prefixes. Default: the plugin's own prefix.
    pub prefix: Option<String>,
    /// Longest wait for a command, and for the first connection, as `250ms`: more than 0, at most one minute.
    #[serde(with = "humantime_serde")]
    #[schemars(with = "String")]
    pub timeout: Duration,
}

impl Default for RedisConfig {
    fn default() -> Self {
        Self {
            url: None,
            url_env: None,
            url_file: None,
            ca_file: None,
            cluster: false,
            sentinel: None,
            sentinel_auth: false,
            prefix: None,
            timeout: Duration::from_millis(250),
        }
    }
}

impl RedisConfig {
    /// Returns the configuration of one server, with this URL.
    pub fn new(url: &str, timeout: Duration) -> Self {
        Self { url: Some(url.to_owned()), timeout, ..Self::default() }
    }

    /// Returns the prefix of the keys: the configured one, or else the plugin's own.
    pub fn prefix_or(&self, own: &str) -> String {
        self.prefix.as_deref().unwrap_or(own).to_owned()
    }

    /// Checks this configuration, without reading an environment variable or a file.
    ///
    /// # Errors
    ///
    /// If there is no URL or more than one source of it, if `cluster` and `sentinel` are both set, if `sentinel_auth` is set
    /// without `sentinel`, or if `timeout` is out of its range. The message names the member as `redis.MEMBER`.
    pub fn check(&self) -> Result<(), String> {
        let sources = [self.url.is_some(), self.url_env.is_some(), self.url_file.is_some()];
        let refused = |why: &str| Err(why.to_owned());
        match sources.into_iter().filter(|is_set| *is_set).count() {
            0 => {
                return refused(
                    "the table `redis` names no server; set `redis.url`, `redis.url_env` or `redis.url_file`",
                );
            }
            1 => {}
            _ => {
                return refused(
                    "`redis.url`, `redis.url_env` and `redis.url_file` exclude each other; keep one of them",
                );
            }
        }
        // The message of a variable that is not set names it, and a URL may contain a password.
        if self.url_env.as_ref().is_some_and(|name| name.contains("://")) {
            return refused(
                "`redis.url_env` has a URL; put the URL into an environment variable, and name the variable",
            );
        }
        if self.cluster && self.sentinel.is_some() {
            return refused("`redis.cluster` and `redis.sentinel` exclude each other; keep one of them");
        }
        if self.sentinel.as_deref() == Some("") {
            return refused("`redis.sentinel` must be the name of a master");
        }
        if self.sentinel_auth && self.sentinel.is_none() {
            return refused("`redis.sentinel_auth` needs `redis.sentinel`");
        }
        if self.timeout.is_zero() || self.timeout > LONGEST_TIMEOUT {
            return refused("`redis.timeout` must be greater than 0 and at most one minute");
        }
        Ok(())
    }

    /// Returns the servers to connect to.
    pub(crate) fn target(&self) -> Result<Target, String> {
        self.check()?;
        let url = self.read_url()?;
        let servers = servers(&url)?;
        let certificates = self.certificates(&servers)?;
        let refused = |error| format!("the Redis URL: {error}");
        if self.cluster {
            let mut builder = ClusterClient::builder(servers).tcp_settings(tcp());
            if let Some(certificates) = certificates {
                builder = builder.certs(certificates);
            }
            // The link has its own limit for each command.
            let builder = builder.overall_response_timeout(None).response_timeout(self.timeout);
            return builder.build().map(Box::new).map(Target::Cluster).map_err(refused);
        }
        if let Some(master) = &self.sentinel {
            return self.sentinel_target(master, &servers, certificates).map_err(refused);
        }
        let [server] = <[_; 1]>::try_from(servers).map_err(|_| {
            "several servers in the Redis URL need `redis.cluster = true` or `redis.sentinel`".to_owned()
        })?;
        let client = match certificates {
            Some(certificates) => Client::build_with_tls(server, certificates),
            None => Client::open(server),
        };
        client.map(Box::new).map(Target::Server).map_err(refused)
    }

    /// Returns the master behind these sentinels. The user, the password and the database of the first URL are the master's.
    fn sentinel_target(
        &self,
        master: &str,
        servers: &[ConnectionInfo],
        certificates: Option<TlsCertificates>,
    ) -> redis::RedisResult<Target> {
        let addresses = servers.iter().map(|server| server.addr().clone());
        let mut builder = SentinelClientBuilder::new(addresses, master, SentinelServerType::Master)?
            .set_client_to_redis_tcp_settings(tcp())
            .set_client_to_sentinel_tcp_settings(tcp());
        if let Some(server) = servers.first() {
            let settings = server.redis_settings();
            builder = builder.set_client_to_redis_db(settings.db());
            if let Some(user) = settings.username() {
                builder = builder.set_client_to_redis_username(user);
                if self.sentinel_auth {
                    builder = builder.set_client_to_sentinel_username(user);
                }
            }
            if let Some(password) = settings.password() {
                builder = builder.set_client_to_redis_password(password);
                if self.sentinel_auth {
                    builder = builder.set_client_to_sentinel_password(password);
                }
            }
        }
        if servers.iter().any(is_tls) {
            builder = builder
                .set_client_to_redis_tls_mode(TlsMode::Secure)
                .set_client_to_sentinel_tls_mode(TlsMode::Secure);
        }
        if let Some(certificates) = certificates {
            builder = builder
                .set_client_to_redis_certificates(certificates.clone())
                .set_client_to_sentinel_certificates(certificates);
        }
        Ok(Target::Sentinel(Box::new(tokio::sync::Mutex::new(builder.build()?))))
    }

    fn read_url(&self) -> Result<String, String> {
        if let Some(name) = &self.url_env {
            return env::var(name).map_err(|error| format!("`redis.url_env` {name}: {error}"));
        }
        if let Some(file) = &self.url_file {
            let text = fs::read_to_string(file)
                .map_err(|error| format!("`redis.url_file` {}: {error}", file.display()))?;
            return Ok(text.trim().to_owned());
        }
        Ok(self.url.clone().unwrap_or_default())
    }

    /// Returns the certificates of `ca_file`.
    fn certificates(&self, servers: &[ConnectionInfo]) -> Result<Option<TlsCertificates>, String> {
        let Some(file) = &self.ca_file else { return Ok(None) };
        if !servers.iter().any(is_tls) {
            return Err("`redis.ca_file` needs a URL that begins with `rediss://`".to_owned());
        }
        let text = fs::read(file).map_err(|error| format!("`redis.ca_file` {}: {error}", file.display()))?;
        if !text.windows(27).any(|part| part == b"-----BEGIN CERTIFICATE-----") {
            return Err(format!("`redis.ca_file` {} has no certificate in PEM format", file.display()));
        }
        Ok(Some(TlsCertificates { client_tls: None, root_cert: Some(text) }))
    }
}

/// Returns the servers of a URL, or of several that are separated by commas.
fn servers(url: &str) -> Result<Vec<ConnectionInfo>, String> {
    let server = |url: &str| {
        let url = url.trim();
        // The redis client would accept any certificate for this fragment.
        if url.contains('#') {
            return Err(
                "the Redis URL: a fragment (`#`) is not supported; write `%23` in a password".to_owned()
            );
        }
        let server = url.into_connection_info().map_err(|error| format!("the Redis URL: {error}"))?;
        // Without `nodelay`, commands would wait for TCP acknowledgements, because they are small writes.
        Ok(server.set_tcp_settings(tcp()))
    };
    url.split(',').map(server).collect()
}

fn tcp() -> TcpSettings {
    TcpSettings::default().set_nodelay(true)
}

fn is_tls(server: &ConnectionInfo) -> bool {
    matches!(server.addr(), ConnectionAddr::TcpTls { .. })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(change: impl FnOnce(&mut RedisConfig)) -> RedisConfig {
        let mut config = RedisConfig::new("redis://user:secret@127.0.0.1:1/3", Duration::from_secs(1));
        change(&mut config);
        config
    }

    #[test]
    fn tables_that_make_no_sense_are_refused_without_the_password() {
        type Change = fn(&mut RedisConfig);
        let cases: [(Change, &str); 15] = [
            (|it| it.url = None, "names no server"),
            (|it| it.url_env = Some("X".to_owned()), "keep one of them"),
            (
                |it| (it.cluster, it.sentinel) = (true, Some("m".to_owned())),
                "`redis.cluster` and `redis.sentinel`",
            ),
            (|it| it.sentinel = Some(String::new()), "name of a master"),
            (|it| it.sentinel_auth = true, "`redis.sentinel_auth` needs"),
            (|it| it.timeout = Duration::ZERO, "`redis.timeout`"),
            (|it| it.timeout = Duration::from_secs(61), "`redis.timeout`"),
            (
                |it| (it.url, it.url_env) = (None, Some("redis://:secret@a".to_owned())),
                "`redis.url_env` has a URL",
            ),
            (|it| it.url = Some("http://:secret@host".to_owned()), "the Redis URL"),
            (|it| it.url = Some("rediss://:secret@host#insecure".to_owned()), "fragment"),
            (|it| it.url = Some("redis://:secret@a,redis://b".to_owned()), "need `redis.cluster = true`"),
            (|it| (it.url, it.url_env) = (None, Some("LLMUX_NO_SUCH".to_owned())), "LLMUX_NO_SUCH"),
            (|it| (it.url, it.url_file) = (None, Some("/no/such".into())), "/no/such"),
            (|it| it.ca_file = Some("/no/such".into()), "rediss://"),
            (
                |it| (it.url, it.ca_file) = (Some("rediss://:secret@a".to_owned()), Some("/no/such".into())),
                "ca_file",
            ),
        ];
        for (change, expected) in cases {
            let error = config(change).target().err().expect(expected);
            assert!(error.contains(expected) && !error.contains("secret"), "{error}");
        }
    }

    #[test]
    fn each_kind_of_server_is_recognized() {
        assert!(matches!(config(|_| {}).target(), Ok(Target::Server(_))));
        for scheme in ["redis", "rediss", "valkey", "valkeys"] {
            let two = Some(format!("{scheme}://user:secret@a:1, {scheme}://user:secret@b:2"));
            let cluster = config(|it| (it.url, it.cluster) = (two.clone(), true)).target();
            assert!(matches!(cluster, Ok(Target::Cluster(_))), "{scheme}");
            let sentinel = config(|it| (it.url, it.sentinel) = (two, Some("m".to_owned()))).target();
            assert!(matches!(sentinel, Ok(Target::Sentinel(_))), "{scheme}");
        }
    }

    #[test]
    fn the_url_is_read_from_a_file() {
        let file = env::temp_dir().join(format!("llmux-redis-url-{}", std::process::id()));
        fs::write(&file, "redis://127.0.0.1:1\n").expect("a file");
        let target = config(|it| (it.url, it.url_file) = (None, Some(file.clone()))).target();
        fs::remove_file(&file).expect("the file");
        assert!(matches!(target, Ok(Target::Server(_))));
    }
}
