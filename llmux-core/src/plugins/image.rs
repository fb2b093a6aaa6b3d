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
    /// How many have been made: two files of the same bytes are two images.
    made: u64,
}

impl Copies {
    pub(crate) fn new() -> Self {
        Self { folder: None, made: 0 }
    }

    /// Writes a copy to a path that was never used before.
    fn write(&mut self, library: &VerifiedLibrary) -> io::Result<PathBuf> {
        if self.folder.is_none() {
            self.folder = Some(tempfile::Builder::new().prefix("llmux-").tempdir()?);
        }
        let Some(folder) = &self.folder else { return Err(io::ErrorKind::NotFound.into()) };
        self.made += 1;
        let name = format!("{}-{}.{}", library.sha256, self.made, std::env::consts::DLL_EXTENSION);
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
    let copy = copies.write(&library).map_err(|error| refused(LibraryError::Copy(error)))?;
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn d2_equal_bytes_are_copied_to_a_path_that_was_never_used() {
        let manifest = llmux_abi::raw::entry::ENTRY_PREFIX;
        let manifest = format!(
            r#"{{"name":"p","version":"1.0.0","description":"","authors":"","license":"","abi":"0.1.0","sdk":"",
                "rustc":"","target":"","panic":"unwind","entry":"{manifest}p","priority":1}}"#
        );
        let library = VerifiedLibrary {
            path: "libp.so".into(),
            bytes: b"the same".to_vec(),
            sha256: "ab".to_owned(),
            manifest: Manifest::parse(manifest.as_bytes()).expect("a manifest"),
            signature: crate::plugins::SignatureState::Missing,
        };
        let mut copies = Copies::new();
        let first = copies.write(&library).expect("written");
        fs::remove_file(&first).expect("removed, as after it is mapped");
        assert_ne!(copies.write(&library).expect("written"), first);
    }
}
