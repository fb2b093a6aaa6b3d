//! Reasons for refusing a library's file: one error for each check, naming what was found and the remedy.
//!
//! Every file of this folder returns [`LibraryError`]; `report::error` wraps it with the path of the file.

use std::{
    io,
    path::{Path, PathBuf},
};

use semver::Version;

/// Why a library's file was refused, in the order of the checks (rule D2).
#[derive(Debug, thiserror::Error)]
pub enum LibraryError {
    /// It could not be read.
    #[error("cannot be read: {0}")]
    Read(#[source] io::Error),
    /// It is a folder, a pipe, a device.
    #[error("is not a regular file")]
    NotAFile,
    /// Others could change it.
    #[error("{0}; make it writable by its owner alone, or set `allow_insecure_permissions`")]
    Permissions(String),
    /// It is larger than any plugin.
    #[error("is {size} bytes long, more than the limit of {max}")]
    TooLarge {
        /// Its size in bytes.
        size: u64,
        /// The limit.
        max: u64,
    },
    /// It is not the file that the configuration names.
    #[error("has the SHA-256 {found}, and the configuration asks for {expected}")]
    Checksum {
        /// The configuration's.
        expected: String,
        /// The file's.
        found: String,
    },
    /// Its signature is missing, or not trusted.
    #[error("its signature: {0}")]
    Signature(String),
    /// It is reached through a link that leaves the plugin folders.
    #[error("leads to {}, outside of the plugin folders, through a symbolic link", shown(target))]
    LeavesFolder {
        /// Where it leads.
        target: PathBuf,
    },
    /// It is no shared library, or a damaged one.
    #[error("is not a shared library: {0}")]
    Format(String),
    /// It is for another kind of machine.
    #[error("is built for {}, and this host is {expected}", brief(found))]
    WrongMachine {
        /// The host's format and architecture.
        expected: String,
        /// The file's.
        found: String,
    },
    /// It is a library, and no plugin.
    #[error("is a library, but not an LLMux plugin: it has no section `.llmux` (write `export_plugin!`)")]
    NoManifest,
    /// Two plugins were linked into one library.
    #[error("holds two manifests; a library holds one plugin (is another plugin's crate linked into it?)")]
    TwoManifests,
    /// Its manifest is damaged or incomplete.
    #[error("manifest: {}", brief(.0))]
    Manifest(String),
    /// It would end the process when it panics.
    #[error(
        "is compiled with `panic = \"abort\"`, so a panic in it would end the host; build it with `panic = \"unwind\"`"
    )]
    PanicAborts,
    /// It speaks another version of the contract.
    #[error(
        "is built for ABI {}, and this host speaks {host}; {}", brief(&plugin.to_string()), advice(host, plugin)
    )]
    AbiMismatch {
        /// The host's.
        host: Version,
        /// The plugin's.
        plugin: Version,
    },
    /// The private copy could not be made.
    #[error("cannot be copied to the host's private folder: {0}")]
    Copy(#[source] io::Error),
    /// The system's loader refuses it.
    #[error("cannot be loaded: {0}")]
    Dlopen(String),
    /// It does not export what its manifest names.
    #[error("does not export `{entry}`, which its manifest names: {message}")]
    NoEntry {
        /// The name.
        entry: String,
        /// The system loader's words.
        message: String,
    },
    /// Its contract types are laid out in another way than the host's.
    #[error("its contract types differ from the host's: {0}")]
    Layout(String),
}

/// A plugin folder that cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("{}: cannot be read: {error}", shown(path))]
pub struct FolderError {
    /// The folder.
    pub path: PathBuf,
    /// The system's error.
    #[source]
    pub error: io::Error,
}

/// A path as it goes into messages and logs: whoever names files could write lines of their own into them.
pub(in crate::plugins) fn shown(path: &Path) -> String {
    escaped(&path.to_string_lossy(), usize::MAX)
}

/// A stranger's text as it goes into messages and logs, which are a sentence long.
fn brief(text: &str) -> String {
    escaped(text, 160)
}

/// Text without control characters and without those that turn its direction around; its beginning, where it is longer.
fn escaped(text: &str, most: usize) -> String {
    let is_obeyed = |it: char| {
        it.is_control()
            || matches!(it, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    let mut escaped = String::new();
    for it in text.chars() {
        if escaped.len() >= most {
            escaped.push('…');
            break;
        }
        match is_obeyed(it) {
            true => escaped.extend(it.escape_unicode()),
            false => escaped.push(it),
        }
    }
    escaped
}

fn advice(host: &Version, plugin: &Version) -> &'static str {
    if plugin > host {
        "use a newer host, or build it with an older `llmux-abi`"
    } else {
        "build it with a newer `llmux-abi`"
    }
}
