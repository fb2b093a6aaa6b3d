//! The contract between host and plugin: types and numbers, without any behavior.
//!
//! Every type here is `#[repr(C)]` and derives `StableAbi`, so that a host can compare the layout a plugin
//! was built with against its own before it calls anything. Every table is a *prefix type*: fields are only
//! appended, after the one marked `last_prefix_field`, and a field that a side does not have reads as
//! `None`. Parameter names are part of the compared layout. `ABI.md` lists the changes that are allowed.
//!
//! Called by `sdk` (the plugin's side) and by `llmux-core`'s `boundary` (the host's side). Plugin authors
//! use the [`prelude`](crate::prelude) instead. Deliberately absent: any enum that may grow (codes are numbers, and
//! an unknown one is a failure), any type whose memory one side allocates and the other frees.
//!
//! # Ownership
//!
//! * An *object* (`…Object`) is opaque: only the side that implements the table beside it reads the content.
//! * Text and bodies are passed as borrowed slices. The receiver copies what it keeps before the call returns.
//! * A table of parameters (`call`) is lent until the function returns; its fields are lent for longer, see there.
//! * A borrow `'a` that a getter returns lives until the same object is changed, or the hook call ends.
//! * `RawInstance`, `RawStream`, `RawWork` and `RawHttpResponse` are owned by the side that received them last, which returns them
//!   once through their table's `drop`. `RawHost` is counted: `retain` and `release`.
//!
//! # Panics
//!
//! No function of the contract unwinds. On the plugin's side, the SDK's shim catches panics. The host's side does not
//! panic; a panic there aborts the process instead of unwinding into a plugin.
//!
//! # Threads
//!
//! Functions may be called on any thread. Functions that take an `RRef` may be called from several threads at once.
//! Functions that take an `RMut` may be called from one thread at a time, which the holder of the handle guarantees.

// The derive writes `unsafe` accessors for every table; nothing here calls any.
#![allow(unsafe_code, clippy::undocumented_unsafe_blocks)]

pub mod call;
pub mod context;
pub mod document;
pub mod entry;
pub mod flow;
pub mod host;
pub mod http;
pub mod outcome;
pub mod plugin;
pub mod stream;
pub mod value;
pub mod version;
