//! The one room where the host meets plugins: the only unsafe code of this crate.
//!
//! One half are our tables, for plugins to call: `document`, `context`, `outcome`, `answer`, `host`. The other
//! half are theirs, for us to call: `library` opens a file and finds the module, `instance` calls the hooks,
//! `stream` reads chunks that a plugin produces.
//!
//! # Why this is sound
//!
//! An object that a hook is lent is a reference to a part of the request (`Body`, `RequestContext`, `Outcome`,
//! `Report`, `Answer`), each a different part, with the lifetime `'f` of the call. It is cast to an opaque
//! pointer here and back in the functions of its own table; nothing else makes such a pair. The borrow checker
//! keeps the request untouched until the call is ready or its future dropped: `Hooks::start` takes the frame
//! for `'f` and gives back a future of `'f`. A plugin that keeps a handle beyond its call breaks the contract,
//! as any native code can; the SDK's types do not let it.
//!
//! Our functions are `extern "C"`, where a panic aborts: they are short, and do not panic.
//!
//! A plugin's functions are called only with objects that stand beside their table, until `drop`. A loaded
//! image is never unmapped, so a function pointer never dangles.

#![allow(unsafe_code)]

mod answer;
mod context;
mod document;
pub(crate) mod host;
pub(crate) mod instance;
pub(crate) mod library;
mod outcome;
mod stream;
pub(crate) mod traffic;

pub(crate) use context::StateSlot;
pub(crate) use instance::Instance;
pub(crate) use stream::PluginStream;
