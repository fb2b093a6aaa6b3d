//! Loads a checked library: a private copy of its bytes, the system's loader, the layout check.
//!
//! The copy's path is new every time, since the system's loader knows images by path; it is removed once it is
//! mapped, so that nothing is left behind, however the process ends.

use std::{
    fs,
    io::{self, Write},
    path::PathBuf,
    sync::Arc,
};

use llmux_abi::raw::plugin::PluginModuleRef;
use tempfile::TempDir;

use super::{
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

/// Where private copies are made: a folder of mode 0700.
pub(crate) struct Copies {
    folder: Option<TempDir>,
}

impl Copies {
    pub(crate) fn new() -> Self {
        Self { folder: None }
    }

    fn write(&mut self, library: &VerifiedLibrary, generation: u64) -> io::Result<PathBuf> {
        if self.folder.is_none() {
            self.folder = Some(tempfile::Builder::new().prefix("llmux-").tempdir()?);
        }
        let Some(folder) = &self.folder else { return Err(io::ErrorKind::NotFound.into()) };
        let name = format!("{}-{generation}.{}", library.sha256, std::env::consts::DLL_EXTENSION);
        let path = folder.path().join(name);
        let mut file = fs::File::options().write(true).create_new(true).open(&path)?;
        file.write_all(&library.bytes)?;
        Ok(path)
    }
}

/// Loads a library. Runs its initializers: not on the request path.
pub(crate) fn load(
    library: VerifiedLibrary,
    generation: u64,
    copies: &mut Copies,
    shared: &Arc<HostShared>,
    retired: &Arc<Retired>,
) -> Result<Loaded, PluginError> {
    let path = library.path.clone();
    let refused = |error| PluginError::Library { path: path.clone(), error };
    let copy = copies.write(&library, generation).map_err(|error| refused(LibraryError::Copy(error)))?;
    let opened = library::open(&copy, &library.manifest.entry);
    // A mapped file needs no name; where the system insists on one (Windows), it stays until the process ends.
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
