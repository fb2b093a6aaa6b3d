//! Plugins as files and as parts of the host: found, checked, loaded, listed, taken out again.
//!
//! `discovery` lists files, `manifest` reads one without running it, `inspect` shows it whether this host would
//! load it or not, `verify` makes the checks that need no loading, and `registry` changes the running pipeline. The unsafe half of loading is `boundary::library`.
//! Nothing here runs on the request path.

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
