//! A plugin of which `stage` makes an instance, compiled in or from a library.

use std::sync::Arc;

use llmux_abi::{host::Compiled, raw::plugin::PluginModuleRef};

use super::spec::ByHand;
use crate::plugins::{
    library::{isolation::Isolation, load::LoadedLibrary, manifest::Manifest},
    report::error::PluginError,
};

/// A plugin, found and loaded.
pub(super) struct Plugin {
    pub(super) name: Arc<str>,
    pub(super) manifest: Option<Arc<Manifest>>,
    pub(super) module: Option<PluginModuleRef>,
    pub(super) library: Option<LoadedLibrary>,
    pub(super) isolation: Isolation,
    pub(super) by_hand: Option<ByHand>,
}

/// Reads the manifest of a compiled-in plugin.
pub(super) fn compiled_manifest(compiled: &Compiled) -> Result<Arc<Manifest>, PluginError> {
    let manifest = Manifest::parse(compiled.manifest.as_bytes());
    manifest.map(Arc::new).map_err(|error| PluginError::Library { path: "(compiled in)".into(), error })
}

/// A compiled-in plugin with a manifest.
pub(super) fn compiled_plugin(compiled: &Compiled, manifest: Arc<Manifest>) -> Plugin {
    let plugin = compiled_in(manifest.name.as_str().into(), Some(compiled.module), None);
    Plugin { manifest: Some(manifest), ..plugin }
}

/// A compiled-in plugin without a manifest.
pub(super) fn compiled_in(
    name: Arc<str>,
    module: Option<PluginModuleRef>,
    by_hand: Option<ByHand>,
) -> Plugin {
    Plugin { name, manifest: None, module, library: None, isolation: Isolation::None, by_hand }
}
