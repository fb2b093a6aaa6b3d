//! Safe wrappers over the contract's tables, which the rest of the SDK uses.
//!
//! # Soundness
//!
//! The shim makes a handle from a raw handle that the host passed to a hook. The handle carries the lifetime of that
//! hook call. The contract guarantees three things. Everything that is lent to a call stays valid and in place for
//! that lifetime. Every function pointer in a host table may be called with the object beside it. Borrowed text is
//! UTF-8 and lives until the object is changed. Getters borrow `&self` and setters `&mut self`, so the compiler
//! enforces the last guarantee; a returned borrow is bound to the borrow of the handle. The opaque objects are `Send
//! + Sync`, as the contract promises for getters, so handles are too.

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
