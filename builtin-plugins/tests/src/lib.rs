//! What the tests of the built-in plugins stand on.
//!
//! One body of a test runs in four ways: with the plugins compiled in and loaded as libraries, for plain
//! requests and for streams ([`Way`]). A [`World`] is a client with some plugins, an [`Upstream`] that counts
//! what reaches it, and the [`Log`] of the test's own thread.
//!
//! Deliberately absent: the program. A real process with all four plugins is tested with the gateway.

mod kinds;
mod log;
mod upstream;
mod world;

pub use kinds::{Builtin, Kind, Way};
pub use log::{Event, Log};
pub use upstream::Upstream;
pub use world::{Answer, Ask, World, ask};
