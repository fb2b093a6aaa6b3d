//! A client for large language models with a pipeline of plugins around every call.
//!
//! # Brief overview
//!
//! The main type of this crate is [`Client`]. A [`ClientBuilder`] builds it from providers, plugins and settings. It sends
//! a [`Request`], and returns a [`Reply`], or a [`StreamReply`] with the [`ReplyStream`] of an answer that streams.
//!
//! - A [`Provider`](provider::Provider) answers requests: an [OpenAI-compatible API](provider::OpenAi), the offline
//!   [`Echo`](provider::Echo), or the embedder's own code. A model may have several deployments and fallback models; the
//!   client retries and chooses.
//! - A plugin has hooks, which run before a request is sent, after it is answered, on each chunk of a stream, and after
//!   its completion. The client makes *instances* of plugins from [`PluginSpec`]s: a plugin is compiled in, or it is a
//!   library that is loaded while the program runs. The [`Registry`](plugins::Registry), which [`Client::plugins`]
//!   returns, loads, changes and unloads instances while requests run.
//! - A [`Document`] is the JSON body of a request, a response, a chunk or an error. The host owns it, and plugins read and
//!   edit it by [JSON Pointer](https://www.rfc-editor.org/rfc/rfc6901).
//! - An [`Error`] is the error that a request ends with. Its [`ErrorKind`] is its origin.
//!
//! A key design decision is that no plugin sees the memory layout of a request. Plugins are written with the SDK,
//! `llmux-abi`, and the pipeline calls every instance through one table of functions. Therefore a loaded plugin behaves
//! like a compiled-in one, and a provider's new field needs no new version of any plugin. Values that no plugin touches are
//! neither parsed nor written again.
//!
//! Deliberately absent: HTTP serving, the configuration file and the command line, which the program `llmux` adds with the
//! public API of this crate. `ARCHITECTURE.md` draws the modules and the way of a request.
//!
//! # Example
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
pub mod isolation;
mod metrics;
pub mod pipeline;
pub mod plugins;
mod progress;
pub mod provider;
mod sandbox;
mod setters;
mod upstream;

pub use boundary::{
    crash::report_crashes,
    log::{LogFields, PLUGIN_LOG},
};
pub use client::{Client, ClientBuilder, Reply, ReplyStream, Request, StreamReply};
pub use document::Document;
pub use endpoint::Endpoint;
pub use error::{Error, ErrorKind};
pub use plugins::PluginSpec;
pub use progress::Progress;
