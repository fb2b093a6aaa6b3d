//! Loads a checked library: a private copy of its bytes, the system's loader, the layout check.
//!
//! The copy is removed once it is mapped: a mapped file needs no name.

use std::{
    fs,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
};

use llmux_abi::raw::plugin::PluginModuleRef;

use super::{
    copies::Copies,
    error::{LibraryError, PluginError},
    manifest::Manifest,
    verify::VerifiedLibrary,
};
use crate::boundary::{
    host::{HostServices, HostShared},
    library::{self, Image, OpenError, Retired},
};

/// A library that is loaded, for as long as anybody makes instances of it.
#[derive(Clone)]
pub(crate) struct Loaded {
    pub(crate) path: PathBuf,
    pub(crate) sha256: Arc<str>,
    pub(crate) manifest: Arc<Manifest>,
    pub(crate) module: PluginModuleRef,
    pub(crate) generation: u64,
    pub(crate) image: Arc<Image>,
}

/// Loads a library. Runs its initializers: not on the request path.
pub(crate) fn load(
    library: VerifiedLibrary,
    generation: u64,
    copies: &Mutex<Copies>,
    shared: &Arc<HostShared>,
    retired: &Arc<Retired>,
) -> Result<Loaded, PluginError> {
    let path = library.path.clone();
    let refused = |error| PluginError::Library { path: path.clone(), error };
    let copy = copies.lock().unwrap_or_else(PoisonError::into_inner).write(&library);
    let copy = copy.map_err(|error| refused(LibraryError::Copy(error)))?;
    let opened = library::open(&copy, &library.manifest.entry);
    // Where the system insists on a name (Windows), it stays until the process ends.
    let _ = fs::remove_file(&copy);
    let module = opened.map_err(|error| {
        refused(match error {
            OpenError::Dlopen(message) => LibraryError::Dlopen(message),
            OpenError::NoEntry(message) => {
                LibraryError::NoEntry { entry: library.manifest.entry.clone(), message }
            }
            OpenError::Layout(message) => LibraryError::Layout(message),
        })
    })?;
    library::attach(module, HostServices::new(&library.manifest.name, shared.clone()).raw());
    Ok(Loaded {
        image: Image::new(library.bytes.len() as u64, retired.clone()),
        path: library.path,
        sha256: library.sha256.into(),
        manifest: Arc::new(library.manifest),
        module,
        generation,
    })
}
