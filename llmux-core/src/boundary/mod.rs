//! The place where the host meets plugins: the only unsafe code of this crate.
//!
//! One half is the host's tables, which plugins call: `document`, `context`, `outcome`, `reply`, `host`, `http`. The other half
//! is the plugins' tables, which the host calls: `library` opens a file and finds the module, `native_hooks` calls the
//! hooks, `stream` reads chunks that a plugin produces, `parameters` passes what a call is lent, `decision` decodes the
//! codes. `log` makes events of what plugins log. `mirror` sends records out of a child process. `paused` is the clock of a child in tests. `crash` names the instance that a fatal signal interrupts. `process_state` reads what a plugin can change for the
//! whole process. `host_memory` has the bodies that a host lends to a child process.
//!
//! # Soundness
//!
//! A hook is lent references to parts of the request (`Body`, `CallContext`, `Outcome`, `Report`, `HookReply`), each to a
//! different part, with the lifetime `'f` of the call. A reference is cast to an opaque pointer here, and back in the
//! functions of its own table; nothing else makes such a pair. The borrow checker keeps the request untouched until the
//! call is ready or its future is dropped: `Hooks::call` takes the parts for `'f` and returns a future of `'f`. A plugin
//! that keeps a handle beyond its call breaks the contract, as any native code can; the SDK's types do not allow it.
//!
//! The host's functions are `extern "C"`, where a panic aborts. The body of each is one call of
//! [`guarded`](llmux_abi::host::guarded), which answers the neutral value instead: a subscriber of `tracing` may panic, and
//! so may tokio on a thread that ends. A test reads the sources and holds this rule, with the few exceptions that only cast
//! a pointer.
//!
//! A plugin's functions are called only with objects that stand beside their table, until `drop`. A loaded image is never
//! unmapped, so a function pointer never dangles.

#![allow(unsafe_code)]

mod context;
pub(crate) mod crash;
mod decision;
mod document;
pub(crate) mod host;
#[cfg(target_os = "linux")]
pub(crate) mod host_memory;
pub(crate) mod http;
mod lent_memory;
pub(crate) mod library;
pub(crate) mod log;
pub(crate) mod mirror;
pub(crate) mod native_hooks;
mod outcome;
pub(crate) mod paused;
pub(crate) mod process_state;
mod reply;
mod stream;
mod text;
mod tool_call;

pub(crate) use native_hooks::NativeHooks;
