//! Plugins as files and as parts of the host: found, checked, loaded, listed, taken out again.
//!
//! [`discover`] lists files, [`Manifest`] reads one without running it, [`inspect()`] shows it whether this host would
//! load it or not, [`verify()`] makes the checks that need no loading: functions that need no client. [`Registry`], which
//! [`Client::plugins`](crate::Client::plugins) gives, changes the running pipeline, lists it and tells of changes.
//! `llmux-core/examples/lifecycle.rs` shows all of it. Nothing here runs on the request path; the unsafe half of
//! loading is `boundary::library`. Deliberately absent: when to look at the folders again, which is the host's
//! business ([`Registry::rescan`] is the look).

mod change;
mod config;
mod copies;
mod discovery;
mod error;
mod event;
mod image;
mod inspect;
mod listing;
mod manifest;
mod object_file;
mod problem;
mod registry;
mod rescan;
mod retire;
mod signature;
mod slot;
mod source;
mod stage;
mod verify;

pub use change::{Change, Setting};
pub use discovery::{Found, discover};
pub use error::{LibraryError, PluginError};
pub use event::{Edition, PluginEvent, PluginEventKind, acting_as};
pub use inspect::{Check, Inspection, inspect, inspect_folders};
pub use listing::{HookInfo, PluginInfo, PluginKind, PluginState, RetiredImages};
pub use manifest::{Manifest, OnError, PanicStrategy};
pub use registry::{PluginsConfig, Registry};
pub use rescan::Rescanned;
pub use retire::{ShutdownReport, Unloaded};
pub use signature::{SignatureState, TrustedKey};
pub use source::{PluginSpec, Source};
pub use verify::{VerifiedLibrary, VerifyOptions, verify};
