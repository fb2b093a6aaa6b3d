//! Safe wrappers over the contract's tables: everything else in the SDK stands on these.
//!
//! # Why this is sound
//!
//! A handle here is made from a raw handle that the host passed to a hook (in `shim`), and carries that
//! hook call's lifetime. The contract says that what a call was lent stays valid and in place for that
//! lifetime, that every function pointer in a host table may be called with the object that stands beside
//! it, and that borrowed text is UTF-8 and lives until the object is changed. Getters borrow `&self` and
//! setters `&mut self`, so the compiler upholds the last part; what returns a borrow ties it to that of the
//! handle. The opaque objects are `Send + Sync`, as the contract promises for getters, so handles are too.

#![allow(unsafe_code)]

mod answer;
mod context;
mod document;
mod host;
mod http;
pub(crate) mod log;
mod outcome;
mod value;

pub(crate) use answer::Answer;
pub(crate) use context::{ContextHandle, drop_state};
pub use document::Document;
pub(crate) use host::HostHandle;
pub(crate) use http::HttpResponseHandle;
pub(crate) use outcome::{OutcomeHandle, ReportHandle};
