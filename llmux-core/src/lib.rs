//! LLMux as a library: a client for language models with a pipeline of plugins around every call.

mod boundary;
pub mod client;
pub mod document;
mod endpoint;
pub mod error;
mod metrics;
pub mod pipeline;
pub mod plugins;
pub mod provider;
#[cfg(feature = "testing")]
pub mod testing;

pub use client::{Client, ClientBuilder, Reply, ReplyStream, Request, StreamReply};
pub use document::Document;
pub use endpoint::Endpoint;
pub use error::{Error, ErrorKind};
pub use plugins::PluginSpec;
