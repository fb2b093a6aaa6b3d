//! Real Redis servers for tests, on free loopback ports.
//!
//! Used by the tests of this crate and of the plugins that use it. Needs the program `redis-server`. The environment variable
//! `LLMUX_TEST_REDIS` names another program, such as `valkey-server`.

mod cluster;
mod server;

pub use self::{
    cluster::Cluster,
    server::{RedisServer, free_port},
};
