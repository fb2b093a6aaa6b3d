//! Instances in child processes: the same library file, behind the same hooks, in a process of its own (rules I1 to I7).
//!
//! ```text
//! plugins::registry ──► host::hooks ──► frames over a socket ──► child ──► boundary::native_hooks ──► the plugin
//!                          lend, apply                            rebuild, collect
//! ```
//!
//! The host sends all that a hook may see, and the child answers with what the hook decided and changed, so that reading
//! costs no round trip. The host checks everything that a child sends. A large body is in memory that the host writes once
//! for each request and the child reads (`host::bodies`). Deliberately absent: which instances are isolated, which the
//! registry knows.

#[cfg(target_os = "linux")]
mod apply;
#[cfg(target_os = "linux")]
mod child;
#[cfg(target_os = "linux")]
mod collect;
#[cfg(target_os = "linux")]
mod frame;
#[cfg(target_os = "linux")]
pub(crate) mod host;
#[cfg(target_os = "linux")]
mod lend;
pub(crate) mod output;
pub(crate) mod plan;
mod program;
#[cfg(target_os = "linux")]
mod protocol;
#[cfg(target_os = "linux")]
mod rebuild;
pub(crate) mod start;

#[cfg(target_os = "linux")]
pub use child::run_child;
#[cfg(all(target_os = "linux", any(test, fuzzing)))]
pub use host::fuzzing;
pub use program::ChildProgram;
