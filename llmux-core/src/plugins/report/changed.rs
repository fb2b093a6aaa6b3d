//! The result of a change of the pipeline.

use super::{error::PluginError, info::PluginInfo, undone::Undone};

/// The result of a change of the pipeline.
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct Changed {
    /// The instances that are new or changed.
    pub plugins: Vec<PluginInfo>,
    /// Changes of operators that were reverted.
    pub undone: Vec<Undone>,
    /// Libraries of the folders that were refused, unless the same refusal was reported before.
    pub refused: Vec<PluginError>,
}
