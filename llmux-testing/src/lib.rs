//! Everything that tests of plugins, of embedding programs and of LLMux itself share.
//!
//! A plugin author uses [`Harness`], which runs a plugin through the real pipeline; [`harness`] shows a whole test.
//! [`ScriptedServer`] is an HTTP server on a real socket that answers as a test scripts it. [`blocks`] reads the code
//! blocks of the documents in this repository.
//!
//! Everything here uses the public API of `llmux-core` only, and nothing of LLMux depends on it, except the commands
//! `llmux plugin try` and `llmux plugin bench`.

pub mod blocks;
pub mod files;
pub mod harness;
mod script;
mod server;

pub use harness::{Harness, HarnessBuilder, HarnessReply, Log};
pub use server::{Received, ScriptedResponse, ScriptedServer};
