//! Texts: each text of a request or an answer passes the text hooks, whole or in the pieces of a stream (rules T1 to T8).
//!
//! ```text
//! chain ──► body ────┐
//!                    ├──► places: where the texts are       verdict: one call of a hook
//! stream ──► pieces ─┘    event: the events of a response object
//!                                                           unknown: long strings that are no texts
//! ```
//!
//! `chain` passes whole bodies, `stream` chunks. An instance has its turn at a body as at a hook, so that the next one sees its
//! edits (rule O4). A document keeps what was parsed, so that several instances share one pass over a chunk. A chunk that
//! differs from the one before in its text alone (`frame`) is not parsed. Deliberately absent: how an instance decides.

mod body;
mod event;
mod frame;
mod pieces;
mod places;
mod progress;
mod put;
mod subject;
mod unknown;
mod verdict;

pub(crate) use self::subject::{Channel, Hold, Side, Text};
pub(super) use self::{
    body::{answer, request},
    frame::Frame,
    pieces::Pieces,
    unknown::check,
};
