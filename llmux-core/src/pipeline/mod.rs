//! The pipeline: the whole way of a request.
//!
//! ```text
//! client ──► run ──► attempt: pre chain ──► upstream ──► post chain ──► reply
//!             │        └── short circuit ─────────────────▲
//!             ├── the next fallback, if the attempt failed
//!             └── completion: on_complete of every instance, in a task of its own
//! ```
//!
//! `client` calls it. A request takes one `Snapshot` and keeps it, and owns everything that its hooks may touch, so
//! nothing here takes a lock. It runs in its caller's task, and to its end even if the caller leaves (`detached`).
//! Deliberately absent: how an instance is called (the trait `hook::Hooks`), how a provider is reached (the trait
//! `upstream::Upstream`), the codes of the contract, and HTTP.

mod ask;
mod attempt;
mod beside;
pub(crate) mod body;
mod call;
mod chain;
mod choices;
mod chunks;
mod clock;
pub(crate) mod collected;
mod completion;
mod config;
mod contain;
pub(crate) mod context;
pub(crate) mod detached;
pub(crate) mod early_head;
pub(crate) mod failed;
mod head;
pub(crate) mod headers;
pub(crate) mod hook;
mod in_flight;
pub(crate) mod kind;
pub(crate) mod memory;
mod numbers;
pub(crate) mod outcome;
pub(crate) mod report;
mod run;
pub(crate) mod snapshot;
mod states;
pub(crate) mod stats;
mod stream;
mod stream_item;
pub(crate) mod text;
pub(crate) mod tool_call;
mod traffic;
mod turn;
mod upcoming;
mod usage;
mod waiting;
mod whole;

pub use llmux_abi::Value;

pub use self::{body::Chunk, config::PipelineConfig, context::Identity, kind::HookKind};
pub(crate) use self::{
    clock::{Clock, Limit},
    head::Head,
    in_flight::{InFlight, Shared},
    run::{Ended, run, run_stream},
    states::States,
    stream_item::StreamItem,
    waiting::Completions,
};
pub use crate::provider::is_reserved_header;
