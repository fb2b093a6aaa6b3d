//! What the tests of the built-in plugins stand on.
//!
//! One body of a test runs in up to six ways: with the plugins compiled in, loaded as libraries, and in a real
//! `llmux`, for plain requests and for streams ([`Way`]). A [`World`] is a host with some plugins, an [`Upstream`]
//! that counts what reaches it, and the [`Log`] of the test's own thread.
//!
//! A process has a clock of its own and shows only what HTTP shows: bodies that hold time, or look at what a
//! caller in the same process sees, do without that way.
//!
//! * `kinds`: the plugins, and where they come from.
//! * `world`: a host of either place; `inside` this process, or a `program` whose upstream is `served`.
//! * `ask` and `answer`: a request, and what came of it. `log` and `prometheus`: what the plugins said of it.

mod answer;
mod ask;
mod inside;
mod kinds;
mod log;
mod program;
mod prometheus;
mod served;
mod upstream;
mod world;

pub use answer::{Answer, Inside};
pub use ask::{Ask, ask, of};
pub use kinds::{Builtin, Kind, Part, Way};
pub use log::{Event, Log};
pub use prometheus::{value, value_in};
pub use upstream::Upstream;
pub use world::{Listed, World};
