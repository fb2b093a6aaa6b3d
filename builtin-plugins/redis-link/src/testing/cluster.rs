//! A real Redis Cluster of three masters.

use std::{
    io, thread,
    time::{Duration, Instant},
};

use tempfile::TempDir;

use super::server::{RedisServer, free_port};

/// The slots of a cluster, a third for each master.
const SLOTS: [(&str, &str); 3] = [("0", "5460"), ("5461", "10922"), ("10923", "16383")];

/// Three masters without replicas, which hold a third of the slots each.
pub struct Cluster {
    /// The masters.
    pub servers: Vec<RedisServer>,
    /// The files that the servers keep about their cluster.
    _folder: TempDir,
}

impl Cluster {
    /// Starts the servers, and waits until they have formed a cluster.
    ///
    /// # Errors
    ///
    /// If a server cannot be started, or they do not form a cluster within 20 s.
    pub fn start() -> io::Result<Self> {
        let folder = TempDir::new()?;
        let mut servers = Vec::new();
        let mut buses = Vec::new();
        for number in 0..SLOTS.len() {
            let (bus, file) = (free_port()?.to_string(), format!("nodes-{number}.conf"));
            servers.push(RedisServer::start_with(&[
                "--cluster-enabled",
                "yes",
                "--cluster-port",
                &bus,
                "--cluster-config-file",
                &file,
                "--cluster-node-timeout",
                "2000",
                "--dir",
                &folder.path().to_string_lossy(),
            ])?);
            buses.push(bus);
        }
        for (number, ((first, last), server)) in SLOTS.iter().zip(&servers).enumerate() {
            server.command(&["CLUSTER", "SET-CONFIG-EPOCH", &(number + 1).to_string()])?;
            server.command(&["CLUSTER", "ADDSLOTSRANGE", first, last])?;
        }
        for (server, bus) in servers.iter().zip(&buses).skip(1) {
            servers[0].command(&["CLUSTER", "MEET", "127.0.0.1", &server.port().to_string(), bus])?;
        }
        let started = Instant::now();
        for server in &servers {
            let is_ready = || {
                let info = server.command(&["CLUSTER", "INFO"])?;
                io::Result::Ok(info.contains("cluster_state:ok") && info.contains("cluster_known_nodes:3"))
            };
            while !is_ready()? {
                if started.elapsed() > Duration::from_secs(20) {
                    return Err(io::Error::other("the servers form no cluster"));
                }
                thread::sleep(Duration::from_millis(20));
            }
        }
        Ok(Self { servers, _folder: folder })
    }

    /// Returns the URL of all servers.
    pub fn url(&self) -> String {
        self.servers.iter().map(RedisServer::url).collect::<Vec<_>>().join(",")
    }
}
