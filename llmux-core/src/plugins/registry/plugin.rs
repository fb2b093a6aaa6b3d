//! A plugin of which `stage` makes an instance, compiled in or from a library.

use std::sync::Arc;

use llmux_abi::{host::Compiled, raw::plugin::PluginModuleRef};

use super::{instance::Instance, settings::PluginsConfig, spec::ByHand};
use crate::plugins::{
    library::{isolation::Isolation, load::LoadedLibrary, manifest::Manifest, sandbox::SandboxSettings},
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

impl Plugin {
    /// The plugin that an instance is made of.
    pub(super) fn of(instance: &Instance) -> Self {
        Self {
            name: instance.plugin.clone(),
            manifest: instance.manifest.clone(),
            module: instance.module,
            library: instance.library.clone(),
            isolation: instance.isolation,
            by_hand: None,
        }
    }

    /// Checks that an instance can run where its spec wants, with the rights and limits of its child process. Returns those,
    /// with the registry's for each member that the spec does not have.
    ///
    /// # Errors
    ///
    /// If a compiled-in plugin should run in a child process, if an instance in the host has rights or limits, or if one of
    /// them is wrong.
    pub(super) fn sandbox(
        &self,
        name: &str,
        isolation: Option<Isolation>,
        own: &SandboxSettings,
        config: &PluginsConfig,
    ) -> Result<SandboxSettings, PluginError> {
        let name = name.to_owned();
        if isolation == Some(Isolation::Process) && self.library.is_none() {
            let why = "the plugin is compiled into the host; only a library can run in a child process";
            return Err(PluginError::Isolation { name, why: why.to_owned() });
        }
        let given = own.given();
        if self.isolation == Isolation::None && !given.is_empty() {
            let given: Vec<_> = given.iter().map(|member| format!("`{member}`")).collect();
            let (given, why) =
                (given.join(", "), "the instance runs in the host, and only a child process has a sandbox");
            let why = format!("{given}: {why}; set `isolation = \"process\"`, or remove these members");
            return Err(PluginError::Sandbox { name, why });
        }
        let sandbox = own.or(&config.sandbox);
        sandbox.check().map_err(|why| PluginError::Sandbox { name, why })?;
        Ok(sandbox)
    }
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
