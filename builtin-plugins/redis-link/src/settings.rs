//! The settings of a link, and the servers that they name.
//!
//! A URL may contain a password, so no message repeats it.

use std::{env, fs, path::PathBuf, time::Duration};

use redis::{
    Client, ConnectionAddr, ConnectionInfo, IntoConnectionInfo, TlsCertificates, TlsMode,
    cluster::ClusterClient,
    io::tcp::TcpSettings,
    sentinel::{SentinelClientBuilder, SentinelServerType},
};

use crate::target::Target;

/// The settings of a link.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The URL, or several of them separated by commas.
    pub url: Option<String>,
    /// The environment variable that holds the URL.
    pub url_env: Option<String>,
    /// The file that holds the URL.
    pub url_file: Option<PathBuf>,
    /// The certificates that a server's certificate is checked against, as PEM. The system's store is used if absent.
    pub ca_file: Option<PathBuf>,
    /// True if the URLs name servers of a cluster.
    pub cluster: bool,
    /// The name of the master, if the URLs name sentinels.
    pub sentinel: Option<String>,
    /// True if the sentinels take the user and the password of the URL, too.
    pub sentinel_auth: bool,
    /// Longest wait for a command, and for the first connection.
    pub timeout: Duration,
}

impl Settings {
    /// Returns the settings of one server, with this URL.
    pub fn new(url: &str, timeout: Duration) -> Self {
        Self {
            url: Some(url.to_owned()),
            url_env: None,
            url_file: None,
            ca_file: None,
            cluster: false,
            sentinel: None,
            sentinel_auth: false,
            timeout,
        }
    }

    /// Checks these settings, without reading an environment variable or a file.
    ///
    /// # Errors
    ///
    /// If there is no URL or more than one source of it, if `cluster` and `sentinel` are both set, or if `timeout` is zero.
    pub fn check(&self) -> Result<(), String> {
        let sources = [self.url.is_some(), self.url_env.is_some(), self.url_file.is_some()];
        match sources.into_iter().filter(|is_set| *is_set).count() {
            0 => return Err("backend `redis` needs a `url`, `url_env` or `url_file`".to_owned()),
            1 => {}
            _ => {
                return Err("`url`, `url_env` and `url_file` exclude each other; keep one of them".to_owned());
            }
        }
        if self.cluster && self.sentinel.is_some() {
            return Err("`cluster` and `sentinel` exclude each other; keep one of them".to_owned());
        }
        if self.sentinel.as_deref() == Some("") {
            return Err("`sentinel` must be the name of a master".to_owned());
        }
        if self.sentinel_auth && self.sentinel.is_none() {
            return Err("`sentinel_auth` needs `sentinel`".to_owned());
        }
        if self.timeout.is_zero() {
            return Err("`timeout` must be greater than 0".to_owned());
        }
        Ok(())
    }

    /// Returns the servers to connect to.
    pub(crate) fn target(&self) -> Result<Target, String> {
        self.check()?;
        let url = self.read_url()?;
        let servers = servers(&url)?;
        let certificates = self.certificates(&servers)?;
        let refused = |error| format!("redis url: {error}");
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
        let [server] = <[_; 1]>::try_from(servers)
            .map_err(|_| "several servers in the URL need `cluster = true` or `sentinel`".to_owned())?;
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
            return env::var(name).map_err(|error| format!("url_env `{name}`: {error}"));
        }
        if let Some(file) = &self.url_file {
            let text = fs::read_to_string(file)
                .map_err(|error| format!("url_file `{}`: {error}", file.display()))?;
            return Ok(text.trim().to_owned());
        }
        Ok(self.url.clone().unwrap_or_default())
    }

    /// Returns the certificates of `ca_file`.
    fn certificates(&self, servers: &[ConnectionInfo]) -> Result<Option<TlsCertificates>, String> {
        let Some(file) = &self.ca_file else { return Ok(None) };
        if !servers.iter().any(is_tls) {
            return Err("`ca_file` needs a URL that begins with `rediss://`".to_owned());
        }
        let text = fs::read(file).map_err(|error| format!("ca_file `{}`: {error}", file.display()))?;
        if !text.windows(27).any(|part| part == b"-----BEGIN CERTIFICATE-----") {
            return Err(format!("ca_file `{}` has no certificate in PEM format", file.display()));
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
            return Err("redis url: a fragment (`#`) is not supported; write `%23` in a password".to_owned());
        }
        let server = url.into_connection_info().map_err(|error| format!("redis url: {error}"))?;
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

    fn settings(change: impl FnOnce(&mut Settings)) -> Settings {
        let mut settings = Settings::new("redis://user:secret@127.0.0.1:1/3", Duration::from_secs(1));
        change(&mut settings);
        settings
    }

    #[test]
    fn settings_that_make_no_sense_are_refused_without_the_password() {
        type Change = fn(&mut Settings);
        let cases: [(Change, &str); 13] = [
            (|it| it.url = None, "needs a `url`"),
            (|it| it.url_env = Some("X".to_owned()), "keep one of them"),
            (|it| (it.cluster, it.sentinel) = (true, Some("m".to_owned())), "`cluster` and `sentinel`"),
            (|it| it.sentinel = Some(String::new()), "name of a master"),
            (|it| it.sentinel_auth = true, "`sentinel_auth` needs"),
            (|it| it.timeout = Duration::ZERO, "`timeout`"),
            (|it| it.url = Some("http://:secret@host".to_owned()), "redis url"),
            (|it| it.url = Some("rediss://:secret@host#insecure".to_owned()), "fragment"),
            (|it| it.url = Some("redis://:secret@a,redis://b".to_owned()), "need `cluster = true`"),
            (|it| (it.url, it.url_env) = (None, Some("LLMUX_NO_SUCH".to_owned())), "LLMUX_NO_SUCH"),
            (|it| (it.url, it.url_file) = (None, Some("/no/such".into())), "/no/such"),
            (|it| it.ca_file = Some("/no/such".into()), "rediss://"),
            (
                |it| (it.url, it.ca_file) = (Some("rediss://:secret@a".to_owned()), Some("/no/such".into())),
                "ca_file",
            ),
        ];
        for (change, expected) in cases {
            let error = settings(change).target().err().expect(expected);
            assert!(error.contains(expected) && !error.contains("secret"), "{error}");
        }
    }

    #[test]
    fn each_kind_of_server_is_recognized() {
        assert!(matches!(settings(|_| {}).target(), Ok(Target::Server(_))));
        for scheme in ["redis", "rediss", "valkey", "valkeys"] {
            let two = Some(format!("{scheme}://user:secret@a:1, {scheme}://user:secret@b:2"));
            let cluster = settings(|it| (it.url, it.cluster) = (two.clone(), true)).target();
            assert!(matches!(cluster, Ok(Target::Cluster(_))), "{scheme}");
            let sentinel = settings(|it| (it.url, it.sentinel) = (two, Some("m".to_owned()))).target();
            assert!(matches!(sentinel, Ok(Target::Sentinel(_))), "{scheme}");
        }
    }

    #[test]
    fn the_url_is_read_from_a_file() {
        let file = env::temp_dir().join(format!("llmux-redis-url-{}", std::process::id()));
        fs::write(&file, "redis://127.0.0.1:1\n").expect("a file");
        let target = settings(|it| (it.url, it.url_file) = (None, Some(file.clone()))).target();
        fs::remove_file(&file).expect("the file");
        assert!(matches!(target, Ok(Target::Server(_))));
    }
}
