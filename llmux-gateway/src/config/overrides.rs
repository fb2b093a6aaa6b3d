//! Settings of the command line that take precedence over the configuration file's.
//!
//! `serve` makes them once; each reload of the file applies them again.

use std::path::PathBuf;

use super::file::Loaded;
use crate::terminal::logging::LogFormat;

/// Settings that the command line gives.
pub(crate) struct Overrides {
    /// The configuration file that the command line names.
    pub(crate) file: Option<PathBuf>,
    /// Plugin folders, as absolute paths.
    pub(crate) plugin_dirs: Vec<PathBuf>,
    pub(crate) listen: Option<String>,
    pub(crate) admin_listen: Option<String>,
    pub(crate) log_format: Option<LogFormat>,
}

impl Overrides {
    /// Writes the command line's settings over the file's.
    pub(crate) fn apply(&self, loaded: &mut Loaded) {
        let config = &mut loaded.config;
        config.plugins.autoload |= !self.plugin_dirs.is_empty();
        config.plugins.watch |= !self.plugin_dirs.is_empty();
        config.plugins.dirs.extend(self.plugin_dirs.iter().cloned());
        if let Some(listen) = &self.listen {
            config.server.listen.clone_from(listen);
        }
        if let Some(admin) = &self.admin_listen {
            config.server.admin.clone_from(admin);
        }
        if let Some(format) = self.log_format {
            config.log.format = format;
        }
    }
}
