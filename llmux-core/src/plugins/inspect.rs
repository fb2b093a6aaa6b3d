//! Looks at libraries of any machine, without running anything of them: what they say of themselves, and whether
//! this host would load them.
//!
//! `verify` stops at the first check that fails; here the manifest is read all the same where it can be.

use std::path::{Path, PathBuf};

use serde::Serialize;

use super::{
    discovery,
    error::{LibraryError, PluginError},
    manifest::Manifest,
    signature::{self, SignatureState},
    verify::{self, VerifyOptions},
};

/// What is known of a library's file.
#[derive(Debug)]
pub struct Inspection {
    /// The file.
    pub path: PathBuf,
    /// Its size in bytes, where it could be read.
    pub size: Option<u64>,
    /// The SHA-256 of its bytes, in hexadecimal, where they could be read.
    pub sha256: Option<String>,
    /// What it says of itself, where that could be read.
    pub manifest: Option<Manifest>,
    /// What is known of its signature; `None` where it is refused for it, or was not looked at.
    pub signature: Option<SignatureState>,
    /// Why this host would not load it.
    pub refused: Option<LibraryError>,
}

/// Looks at one file.
pub fn inspect(path: &Path, options: &VerifyOptions) -> Inspection {
    let mut seen = Inspection {
        path: path.to_owned(),
        size: None,
        sha256: None,
        manifest: None,
        signature: None,
        refused: None,
    };
    let bytes = match verify::read(path, options) {
        Ok(bytes) => bytes,
        Err(error) => {
            // Others may change it, so it is not loaded; it may be looked at.
            let may_be_read =
                matches!(error, LibraryError::Permissions(_) | LibraryError::LeavesFolder { .. });
            seen.refused = Some(error);
            match may_be_read.then(|| verify::read_file(path, options.max_size)) {
                Some(Ok(bytes)) => bytes,
                _ => return seen,
            }
        }
    };
    let sha256 = verify::sha256(&bytes);
    match verify::check_bytes(path, &bytes, &sha256, options) {
        Ok((manifest, signature)) => {
            seen.manifest = Some(manifest);
            seen.signature = Some(signature);
        }
        Err(error) => {
            seen.manifest = Manifest::read(&bytes).ok();
            seen.signature = signature::check(path, &bytes, &options.trusted_keys, false).ok();
            seen.refused.get_or_insert(error);
        }
    }
    seen.size = Some(bytes.len() as u64);
    seen.sha256 = Some(sha256);
    seen
}

/// Looks at every library in the folders, sorted by path.
///
/// # Errors
///
/// When a folder itself cannot be read.
pub fn inspect_folders(folders: &[PathBuf], options: &VerifyOptions) -> Result<Vec<Inspection>, PluginError> {
    discovery::each_file(folders, |path| inspect(&path, options))
}

/// The checks of a library that need no loading, in the order in which they are made (rule D2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Check {
    /// It is a regular file that can be read, and no link out of the plugin folders.
    File,
    /// Nobody else could change it or its folder.
    Permissions,
    /// It is no larger than any plugin.
    Size,
    /// Its SHA-256 is the one that is asked for.
    Checksum,
    /// Its signature is there, where one is required, and by a trusted key, where there are keys.
    Signature,
    /// It is a shared library for this operating system and architecture.
    Machine,
    /// It says that it is a plugin, and everything that a plugin must say.
    Manifest,
    /// It unwinds when it panics.
    Panic,
    /// It speaks this host's contract.
    Abi,
    /// What only loading shows: its entry and the layout of its types.
    Loading,
}

impl Check {
    /// Those that need no loading, in their order.
    pub const ALL: [Check; 9] = [
        Check::File,
        Check::Permissions,
        Check::Size,
        Check::Checksum,
        Check::Signature,
        Check::Machine,
        Check::Manifest,
        Check::Panic,
        Check::Abi,
    ];

    /// Its name.
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
            Check::Loading => "loading",
        }
    }
}

impl LibraryError {
    /// The check that it did not pass.
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
            LibraryError::AbiMismatch { .. } => Check::Abi,
            LibraryError::Copy(_)
            | LibraryError::Dlopen(_)
            | LibraryError::NoEntry { .. }
            | LibraryError::Layout(_) => Check::Loading,
        }
    }
}
