//! Plugins as files and as parts of the host: found, checked, loaded, listed and unloaded.
//!
//! Three folders, each using only those below it: `registry` (which instances run, and every change of them), `report`
//! (plain data: errors, events, the list) and `library` (files). [`discover`] lists files, [`inspect()`] shows a file
//! whether this host would load it or not, and [`verify()`] makes the checks that need no loading; these functions need
//! no client. [`Registry`], which [`Client::plugins`](crate::Client::plugins) returns, changes the running pipeline.
//! `llmux-core/examples/lifecycle.rs` shows all of it. Nothing here runs on the request path; the unsafe half of
//! loading is `boundary::library`. Deliberately absent: the times at which folders are looked at again, which the
//! program decides ([`Registry::rescan`] looks).

mod library;
mod registry;
mod report;

pub use library::{
    discover::{discover, inspect, inspect_folders},
    error::{FolderError, LibraryError},
    inspect::{Check, InspectedLibrary},
    isolation::Isolation,
    load::LOADING,
    manifest::{Manifest, OnError, PanicStrategy, Reload, Streams},
    needs::LibraryNeeds,
    options::VerifyOptions,
    sandbox::{SandboxParts, SandboxSettings},
    signature::{SignatureState, TrustedKey},
    trial::{TrialProgram, TriedLibrary, trial_load},
    verify::{VerifiedLibrary, verify},
};
pub(crate) use registry::settings::RegistrySettings;
pub use registry::{
    Registry,
    change::Change,
    guards::Guards,
    retire::{ShutdownReport, Unloaded},
    sandbox_change::SandboxChange,
    setting::Setting,
    settings::PluginsConfig,
    spec::{PluginSource, PluginSpec},
};
pub(crate) use report::metrics;
pub use report::{
    changed::Changed,
    error::PluginError,
    events::{Edition, PluginEvent, PluginEventKind, acting_as},
    info::{HookInfo, Origin, PluginInfo, PluginKind, PluginState, ProcessInfo, RetiredImages},
    undone::{Undone, UndoneChange},
};
