//! Connections to one provider: dialed through the proxy that the environment names, kept, and used again.
//!
//! ```text
//! exchange ──► pool ──► http1, http2 ──► dial (TCP, proxy, TLS) ──► activity (the bytes of a connection, counted)
//!     └──────► body (a response's body, which returns its connection to the pool)
//! ```
//!
//! `openai` uses it. It speaks HTTP/1.1 and HTTP/2 through hyper's connections and not through a finished client, because
//! a finished client does not tell whether a connection was used before and whether bytes were written to it, and rule F1
//! depends on both. Deliberately absent: retries, redirects, cookies and the meaning of a response.

mod activity;
mod body;
mod dial;
mod exchange;
mod http1;
mod http2;
mod pool;
#[cfg(test)]
mod tests;

pub(super) use self::{
    body::Body,
    dial::Dialer,
    exchange::{Exchange, Failure, Outgoing, Target},
};
