//! Finds libraries by name in the plugin folders, off the request path.
//!
//! `stage` resolves the name of a plugin here; the registry looks at the folders.

use std::path::PathBuf;

use tokio::task::spawn_blocking;

use super::{plan::ambiguous, settings::PluginsConfig};
use crate::plugins::{
    library::{discover::discover, inspect::InspectedLibrary, verify::VerifyOptions},
    report::error::PluginError,
};

/// Returns the library of this name in the folders: one that passed the checks, or else one that was refused, whose
/// loading reports the reason. `None` if there is none.
pub(super) async fn find(
    config: &PluginsConfig,
    name: &str,
) -> Result<Option<Result<PathBuf, PathBuf>>, PluginError> {
    let found = discover_blocking(config).await?;
    if let Some(error) = ambiguous(found.iter(), name) {
        return Err(error);
    }
    let is_named =
        |found: &&InspectedLibrary| found.manifest.as_ref().is_some_and(|manifest| manifest.name == name);
    let (good, refused): (Vec<_>, Vec<_>) =
        found.iter().filter(is_named).partition(|found| found.refused.is_none());
    let path = |found: &&InspectedLibrary| found.path.clone();
    Ok(good.first().map(|found| Ok(path(found))).or(refused.first().map(|found| Err(path(found)))))
}

pub(super) async fn discover_blocking(config: &PluginsConfig) -> Result<Vec<InspectedLibrary>, PluginError> {
    discover_in(config.dirs.clone(), config.verify_options()).await
}

/// Reads and hashes files on a thread that may block, so that no request waits.
pub(super) async fn discover_in(
    dirs: Vec<PathBuf>,
    options: VerifyOptions,
) -> Result<Vec<InspectedLibrary>, PluginError> {
    let found = spawn_blocking(move || discover(&dirs, &options)).await;
    Ok(found.map_err(|_| PluginError::PipelineClosed)??)
}
