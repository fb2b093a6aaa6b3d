//! Main listener: connections, the OpenAI API, bodies, replies, events and client keys.
//!
//! `commands::serve` starts it; `admin` uses its connections, bodies and replies for the admin listener. Deliberately
//! absent: what happens to a request, which is `llmux-core`'s.

mod activity;
pub(crate) mod api;
pub(crate) mod auth;
pub(crate) mod body;
pub(crate) mod client_address;
mod complete;
pub(crate) mod connections;
pub(crate) mod cuts;
pub(crate) mod encoding;
pub(crate) mod held_bytes;
pub(crate) mod inflight_requests;
mod progress;
pub(crate) mod refusals;
pub(crate) mod reply;
pub(crate) mod response_id;
pub(crate) mod server;
pub(crate) mod sse;
pub(crate) mod state;
pub(crate) mod unserved;
pub(crate) mod web_pages;
