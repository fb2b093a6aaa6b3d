//! Finds libraries by name in the plugin folders, off the request path.
//!
//! `stage` resolves the name of a plugin here; the registry looks at the folders.

use std::path::PathBuf;

use tokio::task::spawn_blocking;

use super::{plan::ambiguous, settings::PluginsConfig};
use crate::plugins::{
    library::{discover::discover, error::shown, inspect::InspectedLibrary, options::VerifyOptions},
    report::error::PluginError,
};

/// A library in the plugin folders.
pub(super) enum Found {
    /// It passed the checks.
    Good(PathBuf),
    /// It was refused; loading it reports the reason.
    Refused(PathBuf),
    /// No library has the name. The files whose manifest cannot be read may hold it: each with the reason.
    Nothing(Vec<String>),
}

/// Returns the library of this name in the folders.
pub(super) async fn find(config: &PluginsConfig, name: &str) -> Result<Found, PluginError> {
    let found = discover_blocking(config).await?;
    if let Some(error) = ambiguous(found.iter(), name) {
        return Err(error);
    }
    let is_named =
        |found: &&InspectedLibrary| found.manifest.as_ref().is_some_and(|manifest| manifest.name == name);
    let (good, refused): (Vec<_>, Vec<_>) =
        found.iter().filter(is_named).partition(|found| found.refused.is_none());
    if let Some(found) = good.first() {
        return Ok(Found::Good(found.path.clone()));
    }
    if let Some(found) = refused.first() {
        return Ok(Found::Refused(found.path.clone()));
    }
    let unreadable = found.iter().filter(|found| found.manifest.is_none());
    let unreadable = unreadable
        .filter_map(|found| found.refused.as_ref().map(|error| format!("{} ({error})", shown(&found.path))));
    Ok(Found::Nothing(unreadable.collect()))
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
