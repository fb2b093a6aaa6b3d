//! Why a plugin could not be managed: one error for each cause, naming the thing, and what to do.

use std::{
    io,
    path::{Path, PathBuf},
};

use semver::Version;

/// Why a change of the plugins was refused. The running pipeline is as it was (rule D3).
#[derive(Debug, thiserror::Error)]
pub enum PluginError {
    /// The pipeline holds as many instances as it may.
    #[error("the pipeline holds {max} plugins already, its limit (`max_plugins`)")]
    TooManyPlugins {
        /// The limit.
        max: usize,
    },
    /// Another instance has this name.
    #[error("an instance named `{name}` is there already; unload it first, or give this one another name")]
    DuplicatePlugin {
        /// The name.
        name: String,
    },
    /// No instance has this name.
    #[error("there is no instance named `{name}`")]
    PluginNotFound {
        /// The name.
        name: String,
    },
    /// No library in the plugin folders and no compiled-in plugin has this name.
    #[error("no plugin named `{plugin}` was found in the plugin folders or in the host")]
    UnknownPlugin {
        /// The plugin's name.
        plugin: String,
    },
    /// Two libraries say that they are this plugin.
    #[error("two libraries are named `{plugin}`: {} and {}; remove one of them", shown(first), shown(second))]
    AmbiguousPlugin {
        /// The plugin's name.
        plugin: String,
        /// One of the files.
        first: PathBuf,
        /// The other.
        second: PathBuf,
    },
    /// The pipeline has been shut down.
    #[error("the pipeline has been shut down")]
    PipelineClosed,
    /// An instance's name is not allowed.
    #[error(
        "`{name}` is no name for an instance: 1 to 64 of a-z, 0-9, `-`, `_` and `.`, and neither `.` nor `..`"
    )]
    InvalidName {
        /// The name.
        name: String,
    },
    /// The library's file was refused.
    #[error("{}: {error}", shown(path))]
    Library {
        /// The file.
        path: PathBuf,
        /// Why.
        error: LibraryError,
    },
    /// A compiled-in plugin has no library to load anew.
    #[error("`{name}` is compiled into the host; only a library can be reloaded")]
    NotALibrary {
        /// The instance.
        name: String,
    },
    /// An instance that was made by hand cannot be made again.
    #[error("`{name}` was made by the program that embeds this host; it has no configuration to change")]
    MadeByHand {
        /// The instance.
        name: String,
    },
    /// Too many images have been loaded and left.
    #[error(
        "{max} images that no instance uses are mapped already, the limit (`max_retired_images`); restart the host to free them"
    )]
    TooManyRetired {
        /// The limit.
        max: u64,
    },
    /// The system's loader does not come back from another library, and no new thread starts until it does.
    #[error(
        "nothing can be loaded while the initializers of {} run, which are past their timeout; if they never return, restart the host",
        shown(by)
    )]
    LoaderBusy {
        /// That library.
        by: PathBuf,
    },
    /// The file holds another plugin now.
    #[error("{}: holds the plugin `{found}` now, and its instances are of `{expected}`", shown(path))]
    OtherPlugin {
        /// The file.
        path: PathBuf,
        /// The plugin of the instances.
        expected: String,
        /// The plugin in the file.
        found: String,
    },
    /// A library in the plugin folders was refused.
    #[error("{}: {why}", shown(path))]
    Refused {
        /// The file.
        path: PathBuf,
        /// Why.
        why: String,
    },
    /// The configuration does not fit the plugin's schema.
    #[error("configuration of `{name}` (plugin `{plugin}`): {message}")]
    Config {
        /// The instance.
        name: String,
        /// The plugin.
        plugin: String,
        /// The member, what was expected, what was found.
        message: String,
    },
    /// The plugin refused to make the instance.
    #[error("`{name}` (plugin `{plugin}`) could not be made: {message}")]
    Construction {
        /// The instance.
        name: String,
        /// The plugin.
        plugin: String,
        /// The plugin's words.
        message: String,
    },
}

impl PluginError {
    /// Had code of the library begun to run? Trying the same file again would come to the same, and leave another image.
    pub(super) fn is_of_its_code(&self) -> bool {
        match self {
            PluginError::Library { error, .. } => {
                matches!(
                    error,
                    LibraryError::Dlopen(_) | LibraryError::NoEntry { .. } | LibraryError::Layout(_)
                )
            }
            PluginError::Config { .. } | PluginError::Construction { .. } => true,
            _ => false,
        }
    }
}

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

/// A path as it goes into messages and logs: whoever names files could write lines of their own into them.
pub(super) fn shown(path: &Path) -> String {
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
