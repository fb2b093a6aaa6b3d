//! The servers that a link connects to: one server, a cluster, or the master that sentinels name.

use std::time::Duration;

use redis::{AsyncConnectionConfig, Client, cluster::ClusterClient, sentinel::SentinelClient};
use tokio::{sync::Mutex, time::timeout};

use crate::{connection::Connection, error::Error};

/// The shortest timeout of an attempt to connect. No request waits for it, so it may be longer than a command's.
const CONNECT_AT_LEAST: Duration = Duration::from_secs(1);

/// The servers that a link connects to.
pub(crate) enum Target {
    Server(Box<Client>),
    Cluster(Box<ClusterClient>),
    /// The sentinels are asked for the master at each attempt to connect.
    Sentinel(Box<Mutex<SentinelClient>>),
}

impl Target {
    /// Connects, and waits until the servers answer.
    pub(crate) async fn connect(&self, limit: Duration) -> Result<Connection, Error> {
        // Each use has its own timeout; timeouts of the Redis client would only add timers.
        let config = AsyncConnectionConfig::new().set_connection_timeout(None).set_response_timeout(None);
        let connected = async {
            let mut connection = match self {
                Target::Server(client) => {
                    Connection::Server(client.get_multiplexed_async_connection_with_config(&config).await?)
                }
                Target::Cluster(client) => Connection::Cluster(client.get_async_connection().await?),
                Target::Sentinel(client) => {
                    let mut client = client.lock().await;
                    Connection::Server(client.get_async_connection_with_config(&config).await?)
                }
            };
            // A server that is still loading its data answers this command with an error. In a cluster, each master
            // answers it.
            redis::cmd("PING").query_async::<()>(&mut connection).await?;
            Ok(connection)
        };
        match timeout(limit.max(CONNECT_AT_LEAST), connected).await {
            Ok(connected) => connected.map_err(Error::Failed),
            Err(_) => Err(Error::TimedOut),
        }
    }
}
