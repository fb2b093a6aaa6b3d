//! The host's side of isolated instances: children are started, supervised, called and ended.
//!
//! `hooks` calls; `supervisor` replaces a dead child; `process` is one child; `connection` its socket; `spawner` starts
//! processes; `meter` measures them; `services` receives what a plugin logs and
//! measures; `fetches` sends its HTTP requests; `outgoing` holds the frames to a child; `bodies`
//! its memory for large bodies; `pause` the time of tests.

mod announced;
mod bodies;
mod call;
mod connection;
mod fetches;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
pub(crate) mod hooks;
mod meter;
mod outgoing;
mod pause;
pub(crate) mod process;
mod services;
mod spawner;
mod stream;
pub(crate) mod supervisor;
