//! The contract between LLMux and its plugins, and the SDK that plugin authors use.
//!
//! Three roles, three places:
//!
//! * A plugin author uses [`prelude`]: the trait [`Plugin`], the views and the host's services.
//! * A host (`llmux-core`) uses [`raw`]: the tables and handles that host and plugin pass to each other.
//! * Both may use [`types`], owned structs of the chat API, and [`convert`], which converts a response into
//!   chunks and chunks into a response.
//!
//! A complete small plugin (`examples/system_prompt.rs`):
//!
//! ```
#![doc = include_str!("../examples/system_prompt.rs")]
//! # fn main() {}
//! ```
//!
#![cfg_attr(
    feature = "patterns",
    doc = "Guards and masks find regular expressions in texts that arrive in pieces with [`patterns`].\n"
)]
//! The guide (`docs/guide` of the sources) covers the life of a request, documents, streams, waiting, testing,
//! shipping, and the limits of what a host can do for a plugin.
//!
//! A plugin's crate needs `llmux-abi`, `serde` and `schemars`, and `crate-type = ["cdylib", "rlib"]`. One build
//! then produces the library that a host loads and the crate that a host compiles in. [`schemars`] is exported again here:
//! its version is the one whose [`JsonSchema`](schemars::JsonSchema) a configuration implements.

pub mod convert;
pub mod host;
#[cfg(feature = "patterns")]
pub mod patterns;
pub mod raw;
mod sdk;
pub mod types;

pub use schemars;
#[doc(hidden)]
pub use sdk::export;
pub use sdk::{
    AnsweredBy, Attempt, Channel, Chunk, ChunkFlow, ChunkSource, Completion, Configuration, Context, Counter,
    Document, Ending, Error, Flow, Gauge, Histogram, Host, HttpError, HttpFailure, HttpRequest, HttpResponse,
    HttpStream, Message, NoConfig, OnError, Outcome, Plugin, REDACTED_HEADERS, Reload, Request, Response,
    Result, Service, ShortCircuit, Side, StreamEnd, StreamFlow, Streamed, Streams, Task, Text, TextFlow,
    ToolCall, ToolFlow, Value, Verdict,
};
pub use types::Usage;

/// The names that a plugin's file uses: `use llmux_abi::prelude::*;`.
///
/// Not included, since few plugins need them: [`Counter`], [`Gauge`], [`Histogram`], [`HttpResponse`], [`Message`],
/// [`REDACTED_HEADERS`], [`types`] and [`convert`].
pub mod prelude {
    pub use schemars::JsonSchema;
    pub use serde::{Deserialize, Serialize};

    pub use crate::{
        AnsweredBy, Channel, Chunk, ChunkFlow, ChunkSource, Completion, Context, Document, Ending, Error,
        Flow, Host, HttpRequest, NoConfig, OnError, Outcome, Plugin, Request, Response, Result, ShortCircuit,
        Side, StreamEnd, StreamFlow, Streamed, Streams, Text, TextFlow, ToolCall, ToolFlow, Usage, Value,
        Verdict, export_plugin,
    };
    pub use tracing::{debug, error, info, trace, warn};
}
