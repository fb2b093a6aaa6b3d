//! Support for the tests of the built-in plugins.
//!
//! One test body runs in up to six ways: with the plugins compiled in, loaded as libraries, and in a real `llmux`,
//! for plain requests and for streams ([`Way`]). A [`World`] is a host with some plugins, an [`Upstream`] that counts
//! the requests that reach it, and the [`Log`] of the test's own thread.
//!
//! A process has a clock of its own, and a test sees only its HTTP answers. Test bodies that pause time, or that look
//! at facts that only a caller in the same process sees, do not run in that way.
//!
//! * `kinds`: the plugins and their origins.
//! * `world`: a host, either `inside` this process or a `program` whose upstream is served over HTTP.
//! * `ask` and `answer`: a request and its result. `log` and `prometheus`: the log records and the metrics of the
//!   plugins.

mod answer;
mod ask;
mod inside;
mod kinds;
mod log;
mod program;
mod prometheus;
mod upstream;
mod world;

pub use answer::{Answer, Inside};
pub use ask::{Ask, ask, of};
pub use kinds::{Builtin, Kind, Part, Way};
pub use log::{Event, Log};
pub use prometheus::{value, value_in};
pub use upstream::Upstream;
pub use world::{Listed, World};
