//! Errors of changes of the plugins: one for each cause, naming the instance or file and the remedy.

use std::{path::PathBuf, time::Duration};

use crate::plugins::library::{
    error::{FolderError, LibraryError, shown},
    load::LoadError,
    manifest::NAME_RULE,
};

/// Reasons for refusing a change of the plugins. The running pipeline is as it was (rule D3), except after
/// [`NotRestored`](Self::NotRestored).
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
    #[error("no plugin named `{plugin}` was found in the plugin folders or in the host{}", unreadable(files))]
    UnknownPlugin {
        /// The plugin's name.
        plugin: String,
        /// Libraries in the folders whose manifest could not be read, each with the reason.
        files: Vec<String>,
    },
    /// Instances that fail closed would not do so after the change.
    #[error(
        "this change weakens instances that fail closed (`on_error = \"fail\"`): {guards}; to make it, repeat it with `--force` (`\"force\": true` in the admin API)"
    )]
    Weakens {
        /// The instances, each with its state after the change.
        guards: String,
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
    #[error("`{name}` is not a valid instance name: it must be {NAME_RULE}")]
    InvalidName {
        /// The name.
        name: String,
    },
    /// The library's file was refused.
    #[error("{}: {error}", shown(path))]
    Library {
        /// The file.
        path: PathBuf,
        /// Reason of the refusal.
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
    /// The system's loader has not returned from another library, and no new thread starts until it does.
    #[error(
        "nothing can be loaded while the initializers of {} run, which are past their timeout; if they never return, restart the host",
        shown(by)
    )]
    LoaderBusy {
        /// The library whose initializers run.
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
        /// Reason of the refusal.
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
        /// Message of the plugin.
        message: String,
    },
    /// The instance cannot run in a child process.
    #[error("`{name}` cannot run with `isolation = \"process\"`: {why}")]
    Isolation {
        /// The instance.
        name: String,
        /// The reason, and the remedy.
        why: String,
    },
    /// The rights or limits of the instance's child process are wrong, or the system lacks a part that is required.
    #[error("sandbox of `{name}`: {why}")]
    Sandbox {
        /// The instance.
        name: String,
        /// The reason, and the remedy.
        why: String,
    },
    /// Requests held an exclusive instance for longer than a change of it waits.
    #[error(
        "requests still use `{name}` after {wait:?} (`exclusive_wait`), and its plugin cannot run twice (`reload = \"exclusive\"`); repeat the change when they have ended, or unload the instance first"
    )]
    InstanceInUse {
        /// The instance.
        name: String,
        /// The longest wait.
        wait: Duration,
    },
    /// An exclusive instance could not be made anew, and the old one could not be made again. Its hooks fail.
    #[error(
        "{error}; the old instance could not be made again either ({lost}), and its hooks fail until it is reloaded, configured or loaded again"
    )]
    NotRestored {
        /// Reason of the refusal.
        #[source]
        error: Box<PluginError>,
        /// The instances that fail now, each with the reason.
        lost: String,
    },
}

/// Names the files that may hold a plugin that was not found.
fn unreadable(files: &[String]) -> String {
    match files {
        [] => String::new(),
        files => format!("; the manifest of these files cannot be read: {}", files.join(", ")),
    }
}

impl From<LoadError> for PluginError {
    fn from(error: LoadError) -> Self {
        match error {
            LoadError::Library { path, error } => PluginError::Library { path, error },
            LoadError::TooManyRetired { max } => PluginError::TooManyRetired { max },
            LoadError::Busy { by } => PluginError::LoaderBusy { by },
            LoadError::OtherPlugin { path, expected, found } => {
                PluginError::OtherPlugin { path, expected, found }
            }
        }
    }
}

impl From<FolderError> for PluginError {
    fn from(FolderError { path, error }: FolderError) -> Self {
        PluginError::Library { path, error: LibraryError::Read(error) }
    }
}

impl PluginError {
    /// True if code of the library had begun to run: retrying the same file would fail again, or leave another image.
    pub(in crate::plugins) fn is_of_its_code(&self) -> bool {
        match self {
            PluginError::Library { error, .. } => {
                matches!(error, LibraryError::Trial(_) | LibraryError::Dlopen(_) | LibraryError::Layout(_))
            }
            PluginError::Config { .. }
            | PluginError::Construction { .. }
            | PluginError::InstanceInUse { .. }
            | PluginError::NotRestored { .. } => true,
            _ => false,
        }
    }
}
