//! Everything that tests of plugins, of embedding programs and of LLMux itself share.
//!
//! A plugin author uses [`Harness`], which runs a plugin through the real pipeline; [`harness`] shows a whole test. The
//! rest is for tests of LLMux, and for authors whose plugin calls a service:
//!
//! | need | type |
//! |---|---|
//! | a plugin in a pipeline | [`Harness`], [`HarnessReply`], [`Log`] |
//! | a streamed answer at every split | [`Harness::every_split`], [`Splits`], [`SplitDifference`] |
//! | a provider in this process, with paused time | [`ScriptedProvider`], [`Turn`] |
//! | an HTTP server on a real socket, misbehavior included | [`ScriptedServer`], [`ScriptedResponse`] |
//! | a running `llmux`, and its command line | [`Server`], [`program`], [`http`] |
//! | the log of this thread | [`Capture`] |
//! | the library of the crate under test | [`this_library`] |
//! | libraries and programs of LLMux, built by cargo | [`Build`] |
//! | code blocks of the documents | [`blocks`] |
//!
//! The crate uses the public API of `llmux-core` only. Nothing of LLMux depends on it, except the tests and the
//! commands `llmux plugin try` and `llmux plugin bench`.

pub mod blocks;
pub mod build;
pub mod files;
pub mod harness;
pub mod http;
pub mod logs;
pub mod program;
mod provider;
mod response;
mod server;
mod splits;
pub mod turn;

pub use build::{Build, this_library};
pub use harness::{Harness, HarnessBuilder, HarnessReply, Log, every_split::SplitDifference};
pub use logs::Capture;
pub use program::Server;
pub use provider::ScriptedProvider;
pub use response::ScriptedResponse;
pub use server::{Received, ScriptedServer};
pub use splits::Splits;
pub use turn::Turn;
