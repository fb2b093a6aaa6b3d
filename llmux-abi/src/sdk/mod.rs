//! The API for plugin authors: one trait, views of requests, responses and chunks, and the host's services.
//!
//! A plugin's file begins with `use llmux_abi::prelude::*;`, implements [`Plugin`], and ends with
//! [`export_plugin!`](crate::export_plugin). The public API is safe to use. The unsafe code that implements
//! the contract is in `handle`, `absent`, `contain`, `parameters`, `work`, `shim` and `export`.

mod absent;
pub(crate) mod chunk;
mod contain;
pub(crate) mod context;
pub(crate) mod error;
#[doc(hidden)]
pub mod export;
pub(crate) mod flow;
pub(crate) mod handle;
pub(crate) mod host;
pub(crate) mod http;
pub(crate) mod manifest;
pub(crate) mod outcome;
mod parameters;
pub(crate) mod plugin;
pub(crate) mod request;
pub(crate) mod response;
pub(crate) mod shim;
pub(crate) mod source;
mod state;
mod strings;
pub(crate) mod task;
pub(crate) mod text;
pub(crate) mod tool_call;
mod tracing;
pub(crate) mod value;
mod work;

pub use chunk::Chunk;
pub use contain::{guarded, guarded_or, panic_message};
pub use context::{Context, REDACTED_HEADERS};
pub use error::{Error, Result};
pub use flow::{ChunkFlow, Flow, ShortCircuit, StreamFlow, TextFlow, ToolFlow, Verdict};
pub use handle::Document;
pub use host::{Counter, Gauge, Histogram, Host};
pub use http::{HttpError, HttpFailure, HttpRequest, HttpResponse, HttpStream};
pub use manifest::{Exported, OnError, PluginManifest, Reload, Service, Streams};
pub use outcome::{AnsweredBy, Attempt, Completion, Ending, Outcome, StreamEnd};
pub use parameters::Parameters;
pub use plugin::{Configuration, NoConfig, Plugin};
pub use request::{Message, Request};
pub use response::Response;
pub use shim::{Compiled, compiled, instance, module};
pub use source::{ChunkSource, Streamed};
pub use task::Task;
pub use text::{Channel, Side, Text};
pub use tool_call::ToolCall;
pub use value::Value;
