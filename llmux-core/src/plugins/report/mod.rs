//! Plain data about plugins: errors, events, the list that an operator sees, and the host's own metrics.
//!
//! `registry` fills these types. Deliberately absent: instances and images; nothing here keeps one alive.

pub(super) mod changed;
pub(super) mod error;
pub(super) mod events;
pub(super) mod info;
pub(crate) mod metrics;
pub(super) mod undone;
