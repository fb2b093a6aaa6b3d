//! Moves an instance: into a child process, out of it, or into a child process with other rights and limits.
//!
//! `stage` calls it for a change. The old instance serves until the new one is published.

use std::sync::Arc;

use super::{
    instance::Instance, plugin::Plugin, sandbox_change::SandboxChange, setting::Setting, spec::PluginSource,
    stage::Stage,
};
use crate::plugins::{library::isolation::Isolation, report::error::PluginError};

impl Stage {
    /// Makes the instance at a place again, with another isolation, other rights or other limits.
    pub(super) async fn isolate(
        &mut self,
        instances: &mut [Instance],
        at: usize,
        isolation: Setting<Isolation>,
        sandbox: &SandboxChange,
    ) -> Result<(), PluginError> {
        let mut instance = instances[at].clone();
        instance.own_isolation = isolation.after(instance.own_isolation);
        instance.own_sandbox = Arc::new(sandbox.after(&instance.own_sandbox));
        let (name, own) = (instance.name().to_owned(), instance.own_isolation);
        let wanted = own.unwrap_or(self.settings.plugins.isolation);
        let source = instance.path().map(|path| PluginSource::Path(path.to_owned()));
        let mut plugin = Plugin::of(&instance);
        if let Some(source) = source.filter(|_| wanted != instance.isolation) {
            let sha256 = instance.sha256.clone();
            plugin = self.find(instances, source, Some(&name), sha256.as_deref(), wanted).await?;
        }
        let merged = plugin.sandbox(&name, own, &instance.own_sandbox, &self.settings.plugins)?;
        let was_exclusive = instance.is_exclusive();
        instance.sandbox = Arc::new(merged);
        (instance.module, instance.library) = (plugin.module, plugin.library);
        (instance.manifest, instance.isolation) = (plugin.manifest, plugin.isolation);
        instances[at] = self.make_again(instance, None, was_exclusive).await?;
        Ok(())
    }
}
