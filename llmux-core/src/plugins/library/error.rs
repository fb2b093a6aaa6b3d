//! Reasons for refusing a library's file: one error for each check, naming what was found and the remedy.
//!
//! Every file of this folder returns [`LibraryError`]; `report::error` wraps it with the path of the file.

use std::{
    io,
    path::{Path, PathBuf},
};

use semver::Version;

/// Reasons for refusing a library's file, in the order of the checks (rule D2).
#[derive(Debug, thiserror::Error)]
pub enum LibraryError {
    /// The file could not be read.
    #[error("cannot be read: {0}")]
    Read(#[source] io::Error),
    /// The path is a folder, a pipe or a device.
    #[error("is not a regular file")]
    NotAFile,
    /// Other users could change the file.
    #[error("{0}, or set `allow_insecure_permissions`")]
    Permissions(String),
    /// The file is larger than the limit.
    #[error("is {size} bytes long, more than the limit of {max} (`max_library_bytes` in `[plugins]`)")]
    TooLarge {
        /// Size of the file in bytes.
        size: u64,
        /// Limit in bytes.
        max: u64,
    },
    /// The file's SHA-256 is not the expected one.
    #[error("has the SHA-256 {found}, and the configuration asks for {expected}")]
    Checksum {
        /// Expected SHA-256, in hexadecimal.
        expected: String,
        /// Value found in the file.
        found: String,
    },
    /// The signature is missing, or not trusted.
    #[error("its signature: {0}")]
    Signature(String),
    /// The path is a symlink that leaves the plugin folders.
    #[error("leads to {}, outside of the plugin folders, through a symbolic link", shown(target))]
    LeavesFolder {
        /// Target of the symlink.
        target: PathBuf,
    },
    /// The file is not a shared library, or is damaged.
    #[error("is not a shared library: {0}")]
    Format(String),
    /// The library is built for another kind of machine.
    #[error("is built for {}, and this host is {expected}", brief(found))]
    WrongMachine {
        /// Format and architecture of the host.
        expected: String,
        /// Value found in the file.
        found: String,
    },
    /// The library is not a plugin.
    #[error("is a library, but not an LLMux plugin: it has no section `.llmux` (write `export_plugin!`)")]
    NoManifest,
    /// Two plugins were linked into one library.
    #[error("holds two manifests; a library holds one plugin (is another plugin's crate linked into it?)")]
    TwoManifests,
    /// The manifest is damaged or incomplete.
    #[error("manifest: {}", brief(.0))]
    Manifest(String),
    /// A panic in the library would end the process.
    #[error(
        "is compiled with `panic = \"abort\"`, so a panic in it would end the host; build it with `panic = \"unwind\"`"
    )]
    PanicAborts,
    /// The library is built for another version of the contract.
    #[error(
        "needs ABI {}, and this host speaks {host}; {}", brief(&plugin.to_string()), advice(host, plugin)
    )]
    AbiMismatch {
        /// Version of the host.
        host: Version,
        /// Least version that the plugin needs.
        plugin: Version,
    },
    /// The plugin does not work without a service that this host does not offer.
    #[error("needs {} of the host, which this host does not offer; use a newer host", brief(service))]
    Needs {
        /// Name of the service.
        service: String,
    },
    /// The parts that the system's loader reads are false.
    #[error("its segments are damaged: {}", brief(.0))]
    Segments(String),
    /// A library that it needs is not on this machine.
    #[error(
        "needs `{}`{}, which is neither in the folders of the system's loader nor in those that the library or \
         LD_LIBRARY_PATH names ({}); install it, or name its folder in an absolute RUNPATH or in LD_LIBRARY_PATH",
        brief(library), through(by), if folders.is_empty() { "none" } else { folders }
    )]
    MissingLibrary {
        /// Name of the missing library.
        library: String,
        /// Name of the needed library that needs it; `None` if the plugin's own library does.
        by: Option<String>,
        /// Folders that were searched besides those of the system.
        folders: String,
    },
    /// A library that it needs is here in a version that is too old.
    #[error(
        "needs `{}` of `{}`{}, which the library on this machine does not define{}; build it on a system that is as old as \
         this one, or update this one",
        brief(version),
        brief(library),
        through(by),
        newest_is(newest)
    )]
    MissingVersion {
        /// Name of the needed library.
        library: String,
        /// Name of the needed library that needs the version; `None` if the plugin's own library does.
        by: Option<String>,
        /// Name of the version.
        version: String,
        /// Newest version of glibc here, if the version is one of glibc.
        newest: Option<String>,
    },
    /// A folder in its RPATH or RUNPATH is outside of its own folder.
    #[error(
        "names the folder `{}` for the libraries that it needs, which is outside of its own folder; put these libraries into \
         its folder, and name it `$ORIGIN`",
        brief(entry)
    )]
    LeavesOrigin {
        /// Entry of the RPATH or RUNPATH.
        entry: String,
    },
    /// A folder in its RPATH or RUNPATH has a part, such as `$LIB`, that only the system's loader knows.
    #[error(
        "names the folder `{}` for the libraries that it needs, with a part that only the system's loader knows; name the \
         folder in full, or put these libraries into its own folder and name it `$ORIGIN`",
        brief(entry)
    )]
    UnknownFolder {
        /// Entry of the RPATH or RUNPATH.
        entry: String,
    },
    /// A library beside it is refused.
    #[error("needs {}, which {error}", shown(path))]
    Beside {
        /// File of the library beside it.
        path: PathBuf,
        /// Reason of the refusal.
        #[source]
        error: Box<LibraryError>,
    },
    /// With `require_signature`: it may get a library that is not signed, and that root does not own.
    #[error("{0}; `require_signature` is set")]
    UntrustedNeeds(String),
    /// A library that it needs has the name of a mapped one, and other bytes.
    #[error(
        "needs `{}` ({}), but this process has mapped {} under that name; the two cannot live in one process. Put the library \
         beside the plugin and name its folder `$ORIGIN`, give it another name, or restart the host if it replaced the mapped \
         one",
        brief(library),
        shown(path),
        shown(mapped)
    )]
    NameTaken {
        /// Name of the needed library.
        library: String,
        /// File that the library would be loaded from.
        path: PathBuf,
        /// File that is mapped.
        mapped: PathBuf,
    },
    /// The private copy could not be made.
    #[error("cannot be copied to the host's private folder: {0}")]
    Copy(#[source] io::Error),
    /// No child process could load the library on trial.
    #[error(
        "cannot be loaded on trial, because no child process could be started: {0}; `trial = false` in `[plugins]` loads it \
         without a trial"
    )]
    NoTrial(String),
    /// The library crashed a child process, or did not return there.
    #[error("failed in a child process, and is not loaded here: {0}")]
    Trial(String),
    /// The system's loader refuses the library.
    #[error("cannot be loaded: {0}")]
    Dlopen(String),
    /// The library does not export the symbol that its manifest names.
    #[error("does not export `{entry}`, which its manifest names: {message}")]
    NoEntry {
        /// Name of the symbol.
        entry: String,
        /// Message of the system's loader.
        message: String,
    },
    /// The layout of the library's contract types differs from the host's.
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

/// Returns a path for messages and logs, escaped: a file's name could hold line breaks.
pub(in crate::plugins) fn shown(path: &Path) -> String {
    escaped(&path.to_string_lossy(), usize::MAX)
}

/// Returns a text from a file for messages and logs: escaped, and of bounded length.
fn brief(text: &str) -> String {
    escaped(text, 160)
}

/// Returns the text without control characters and without characters that change its direction, cut to a length.
pub(super) fn escaped(text: &str, most: usize) -> String {
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

fn through(by: &Option<String>) -> String {
    by.as_ref().map(|by| format!(" (for `{}`)", brief(by))).unwrap_or_default()
}

fn newest_is(newest: &Option<String>) -> String {
    newest.as_ref().map(|newest| format!(" (its newest is `{}`)", brief(newest))).unwrap_or_default()
}

fn advice(host: &Version, plugin: &Version) -> &'static str {
    if plugin > host {
        "use a newer host, or build it with an older `llmux-abi`"
    } else {
        "build it with a newer `llmux-abi`"
    }
}
