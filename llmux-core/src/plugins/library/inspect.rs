//! The result of inspecting a library's file, and the names of the checks (rule D2).
//!
//! `verify` fills it in, `discover` returns it for whole folders. Plain data.

use std::{
    path::{Path, PathBuf},
    time::SystemTime,
};

use serde::Serialize;

use super::{error::LibraryError, manifest::Manifest, needs::LibraryNeeds, signature::SignatureState};

/// A library's file after inspection: what could be read of it, and the check that it fails, if any.
#[derive(Debug)]
pub struct InspectedLibrary {
    /// The file.
    pub path: PathBuf,
    /// Size in bytes; `None` if the file could not be read.
    pub size: Option<u64>,
    /// Time of the last modification, if the system gives it.
    pub modified: Option<SystemTime>,
    /// SHA-256 of the bytes, in hexadecimal; `None` if the file could not be read.
    pub sha256: Option<String>,
    /// The plugin's manifest; `None` if it could not be read.
    pub manifest: Option<Manifest>,
    /// Needs of the library; `None` if it is no ELF library, or its segments cannot be read.
    pub needs: Option<LibraryNeeds>,
    /// State of the signature; `None` if the signature is refused or was not checked.
    pub signature: Option<SignatureState>,
    /// The first check that the library fails; `None` if this host would load it.
    pub refused: Option<LibraryError>,
}

impl InspectedLibrary {
    /// A file before it is read.
    pub(in crate::plugins) fn new(path: &Path) -> Self {
        let path = path.to_owned();
        // Read before the bytes are: a later write shows as another time.
        let modified = std::fs::metadata(&path).and_then(|metadata| metadata.modified()).ok();
        Self {
            path,
            size: None,
            modified,
            sha256: None,
            manifest: None,
            needs: None,
            signature: None,
            refused: None,
        }
    }

    /// A path that was refused before it could be read.
    pub(in crate::plugins) fn refused(path: PathBuf, error: LibraryError) -> Self {
        Self { refused: Some(error), ..Self::new(&path) }
    }

    /// Returns the manifest if this host would load the library, and the reason against it otherwise.
    pub(in crate::plugins) fn accepted(&self) -> Result<&Manifest, &LibraryError> {
        match (&self.refused, &self.manifest) {
            (Some(error), _) => Err(error),
            (None, Some(manifest)) => Ok(manifest),
            (None, None) => Err(&LibraryError::NoManifest),
        }
    }
}

/// The checks of a library that need no loading, in the order in which they are made (rule D2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Check {
    /// The file is regular and can be read, and is not a symlink out of the plugin folders.
    File,
    /// No other user could change the file or its folder.
    Permissions,
    /// The size is within the limit.
    Size,
    /// The SHA-256 is the expected one.
    Checksum,
    /// The signature is there if one is required, and by a trusted key if there are keys.
    Signature,
    /// The file is a shared library for this operating system and architecture.
    Machine,
    /// The manifest is there and complete.
    Manifest,
    /// The library unwinds when it panics.
    Panic,
    /// The library is built for this host's contract.
    Abi,
    /// The program headers, the dynamic table and the relocations lie within the file.
    Segments,
    /// The library exports the symbol that its manifest names.
    Entry,
    /// The needed libraries are on this machine, in versions that suffice.
    Needs,
    /// The trial load and the layout of the types, which only loading shows.
    Loading,
}

impl Check {
    /// Checks that need no loading, in their order.
    pub const ALL: [Check; 12] = [
        Check::File,
        Check::Permissions,
        Check::Size,
        Check::Checksum,
        Check::Signature,
        Check::Machine,
        Check::Manifest,
        Check::Panic,
        Check::Abi,
        Check::Segments,
        Check::Entry,
        Check::Needs,
    ];

    /// Returns the name of the check.
    pub fn as_str(self) -> &'static str {
        match self {
            Check::File => "file",
            Check::Permissions => "permissions",
            Check::Size => "size",
            Check::Checksum => "checksum",
            Check::Signature => "signature",
            Check::Machine => "machine",
            Check::Manifest => "manifest",
            Check::Panic => "panic",
            Check::Abi => "abi",
            Check::Segments => "segments",
            Check::Entry => "entry",
            Check::Needs => "needs",
            Check::Loading => "loading",
        }
    }
}

impl LibraryError {
    /// Returns the check that the library failed.
    pub fn check(&self) -> Check {
        match self {
            LibraryError::Read(_) | LibraryError::NotAFile | LibraryError::LeavesFolder { .. } => Check::File,
            LibraryError::Permissions(_) => Check::Permissions,
            LibraryError::TooLarge { .. } => Check::Size,
            LibraryError::Checksum { .. } => Check::Checksum,
            LibraryError::Signature(_) => Check::Signature,
            LibraryError::Format(_) | LibraryError::WrongMachine { .. } => Check::Machine,
            LibraryError::NoManifest | LibraryError::TwoManifests | LibraryError::Manifest(_) => {
                Check::Manifest
            }
            LibraryError::PanicAborts => Check::Panic,
            LibraryError::AbiMismatch { .. } | LibraryError::Needs { .. } => Check::Abi,
            LibraryError::Segments(_) => Check::Segments,
            LibraryError::NoEntry { .. } => Check::Entry,
            LibraryError::MissingLibrary { .. }
            | LibraryError::MissingVersion { .. }
            | LibraryError::LeavesOrigin { .. }
            | LibraryError::UnknownFolder { .. }
            | LibraryError::Beside { .. }
            | LibraryError::UntrustedNeeds(_)
            | LibraryError::NameTaken { .. } => Check::Needs,
            LibraryError::Copy(_)
            | LibraryError::NoTrial(_)
            | LibraryError::Trial(_)
            | LibraryError::Dlopen(_)
            | LibraryError::Layout(_) => Check::Loading,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_check_is_known_by_its_name() {
        for check in Check::ALL {
            assert_eq!(serde_json::to_value(check).expect("JSON"), check.as_str());
        }
    }
}
