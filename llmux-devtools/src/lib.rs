//! Tools for plugin authors: `llmux plugin new` creates a crate, `llmux plugin try` runs a library on sample requests, and
//! `llmux plugin bench` measures its hooks.
//!
//! The program `llmux` links this crate: it puts [`NewArgs`], [`TryArgs`] and [`BenchArgs`] into its command line and
//! calls [`new_plugin`], [`try_plugin`] and [`bench_plugin`]. They print to standard output.
//!
//! ```text
//! args ──► try_plugin ──► every_split (the library at every split of an answer)
//!   │          │
//!   │          └────────► trial (the library between two observers, no server) ──► run ──► layout, or JSON
//!   │                       ▲
//!   ├────► bench ───────────┘  sample (the requests)
//!   └────► new_plugin ──► template (the files of a crate)
//! ```
//!
//! Deliberately absent: a server, and any way into the pipeline that plugins and clients do not have.

#![warn(clippy::print_stderr, clippy::print_stdout)]

mod args;
mod bench;
mod every_split;
mod layout;
mod new_plugin;
mod observer;
mod run;
mod sample;
mod template;
mod trial;
mod try_plugin;

pub use args::{BenchArgs, NewArgs, TryArgs};
pub use bench::bench_plugin;
pub use new_plugin::new_plugin;
pub use try_plugin::try_plugin;
