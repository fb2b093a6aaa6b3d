//! LLMux as a library: a client for language models with a pipeline of plugins around every call.
//!
//! A [`Client`] has providers ([`provider`]) and instances of plugins, each made of a [`PluginSpec`]: compiled in, or a
//! library that is loaded while the program runs. A request goes down the instances' hooks ([`pipeline`]), to a
//! provider, and back; its body is a [`Document`]. Plugins are found, checked, loaded, changed and unloaded through
//! [`plugins`]. The program `llmux` is made of the same calls; it adds HTTP serving and a configuration file.
//!
//! ```
//! use std::sync::Arc;
//!
//! use llmux_core::{Client, provider::Echo};
//! use serde_json::json;
//!
//! # tokio::runtime::Runtime::new()?.block_on(async {
//! let client = Client::builder().provider("echo", Arc::new(Echo::new()), ["echo"]).build().await?;
//! let request = json!({"model": "echo", "messages": [{"role": "user", "content": "Hello!"}]});
//! let response = client.chat(&request).await?;
//! assert_eq!(response.get_str("/choices/0/message/content").as_deref(), Some("Hello!"));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! # })?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod boundary;
mod cancel;
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
mod upstream;

pub use client::{Client, ClientBuilder, Reply, ReplyStream, Request, StreamReply};
pub use document::Document;
pub use endpoint::Endpoint;
pub use error::{Error, ErrorKind};
pub use plugins::PluginSpec;
