//! Tool calls: each tool call of an answer passes the tool call hooks as a whole, before any part of it is sent (rule T5).
//!
//! ```text
//! chain ──► body ─────┐
//!                     ├──► places: where the calls are       verdict: one call of a hook, and its edit
//! stream ─► held ─────┘    deltas: the calls of chunks with choices
//!                          events: those of a response object
//! ```
//!
//! `chain` passes whole bodies, `stream` chunks. An instance has its turn after its texts. `held` keeps the calls of one stream
//! for each instance. Deliberately absent: tools that the provider runs itself.

mod body;
mod deltas;
mod events;
mod held;
mod places;
mod subject;
mod verdict;

pub(crate) use self::subject::ToolCall;
pub(super) use self::{body::answer, held::ToolCalls};
