//! The table `[server]` of the configuration file: the listeners and their bounds.
//!
//! `file` reads it; `http` and `admin` use it. A reload replaces it, except the addresses.

use std::{num::NonZeroUsize, time::Duration};

use serde::Deserialize;
use toml::Spanned;

use super::{
    names::{HostName, Origin},
    network::Network,
    secret_place::SecretPlace,
};

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Server {
    pub(crate) listen: String,
    /// Address of the admin listener, or `off` for no admin API.
    pub(crate) admin: String,
    /// Origins of the web pages that may use the API.
    pub(crate) cors: Vec<Origin>,
    /// DNS names by which clients reach this server.
    pub(crate) hosts: Vec<HostName>,
    /// Further DNS names of the admin listener.
    pub(crate) admin_hosts: Vec<HostName>,
    /// Proxies that name the address of their client in `x-forwarded-for`.
    pub(crate) trusted_proxies: Vec<Network>,
    /// Largest number of connections of one address, except trusted proxies.
    pub(crate) max_connections_per_address: Option<NonZeroUsize>,
    /// True if an address that other machines reach is served without any API key.
    pub(crate) open: bool,
    pub(crate) max_body_bytes: usize,
    /// Largest sum of the bodies that all requests hold, in bytes.
    pub(crate) max_inflight_bytes: usize,
    /// Largest number of requests that are handled at once.
    pub(crate) max_inflight_requests: Option<NonZeroUsize>,
    /// Largest number of requests of one API key that are handled at once.
    pub(crate) max_inflight_requests_per_key: Option<NonZeroUsize>,
    /// Longest time for the head of a request, and longest silence within its body.
    #[serde(with = "humantime_serde")]
    pub(crate) read_timeout: Duration,
    /// Longest time in which a client reads nothing while something is to be written.
    #[serde(with = "humantime_serde")]
    pub(crate) write_timeout: Duration,
    /// Longest time that a connection is kept without a request.
    #[serde(with = "humantime_serde")]
    pub(crate) idle_timeout: Duration,
    /// Largest number of fallback models that a client may name, 0 to 8.
    #[serde(deserialize_with = "client_fallbacks")]
    pub(crate) client_fallbacks: usize,
    /// Longest time for requests to end at a shutdown.
    #[serde(with = "humantime_serde")]
    pub(crate) drain_timeout: Duration,
    /// Time between the first 503 of `/readyz` and the end of the listener, so that load balancers notice it.
    #[serde(with = "humantime_serde")]
    pub(crate) shutdown_delay: Duration,
    /// The secret of the ids of stored responses. Without one, each start makes a random one.
    pub(crate) response_id_secret: Option<Spanned<SecretPlace>>,
    /// Silence of a stream after which a comment keeps it open; 0 for no comments.
    #[serde(with = "humantime_serde")]
    pub(crate) keep_alive: Duration,
    /// Time after which the head of a stream is sent although no chunk is there; `None` for `"off"`.
    #[serde(deserialize_with = "duration_or_off")]
    pub(crate) early_head: Option<Duration>,
}

fn duration_or_off<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
    let text = String::deserialize(deserializer)?;
    match (&*text, humantime_serde::re::humantime::parse_duration(&text)) {
        ("off", _) => Ok(None),
        (_, Ok(time)) if !time.is_zero() => Ok(Some(time)),
        _ => Err(serde::de::Error::custom(format_args!(
            "`{text}` is no time above zero, such as \"30s\", and not \"off\""
        ))),
    }
}

/// Largest number of fallback models that a client may be allowed to name.
const MAX_CLIENT_FALLBACKS: usize = 8;

fn client_fallbacks<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<usize, D::Error> {
    match usize::deserialize(deserializer)? {
        max if max <= MAX_CLIENT_FALLBACKS => Ok(max),
        _ => Err(serde::de::Error::custom(format_args!(
            "`client_fallbacks` is a number from 0 to {MAX_CLIENT_FALLBACKS}"
        ))),
    }
}

impl Default for Server {
    fn default() -> Self {
        Self {
            listen: "127.0.0.1:8080".to_owned(),
            admin: "127.0.0.1:8081".to_owned(),
            cors: Vec::new(),
            hosts: Vec::new(),
            admin_hosts: Vec::new(),
            trusted_proxies: Vec::new(),
            max_connections_per_address: None,
            open: false,
            max_body_bytes: 32 * 1024 * 1024,
            max_inflight_bytes: 1024 * 1024 * 1024,
            max_inflight_requests: None,
            max_inflight_requests_per_key: None,
            read_timeout: Duration::from_secs(30),
            write_timeout: Duration::from_secs(30),
            idle_timeout: Duration::from_secs(90),
            client_fallbacks: MAX_CLIENT_FALLBACKS,
            drain_timeout: Duration::from_secs(30),
            shutdown_delay: Duration::ZERO,
            response_id_secret: None,
            keep_alive: Duration::from_secs(15),
            early_head: Some(Duration::from_secs(30)),
        }
    }
}
