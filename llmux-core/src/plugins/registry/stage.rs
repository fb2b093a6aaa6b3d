//! Stages a change on a copy of the list of instances: every step that can fail fails here, before anything is
//! published. Of an exclusive instance, all but the construction is done here; `exclusive` makes it (rule D4).

use std::{collections::BTreeMap, path::Path, sync::Arc, time::SystemTime};

use llmux_abi::host::Compiled;

use super::{
    change::Change,
    construct::{Constructed, Construction},
    find::{Found, find},
    instance::{Instance, Pending, is_exclusive},
    plugin::{Plugin, compiled_in, compiled_manifest, compiled_plugin},
    settings::{PluginsConfig, RegistrySettings},
    spec::{PluginSource, PluginSpec, no_config},
    staged::Staged,
};
use crate::{
    boundary::{host::HostShared, library::Retired},
    pipeline::{
        HookKind,
        snapshot::{Entry, Lease},
        stats::Stats,
    },
    plugins::{
        library::{
            error::LibraryError,
            isolation::Isolation,
            load::{LoadRequest, LoadedLibrary, Loader},
            manifest::{Manifest, OnError, Streams, is_name},
            options::VerifyOptions,
        },
        report::error::PluginError,
    },
};

/// Makes instances.
pub(super) struct Stage {
    shared: Arc<HostShared>,
    compiled: BTreeMap<String, (Compiled, Arc<Manifest>)>,
    pub(super) loader: Loader,
    order: u64,
    /// The settings that the change under way is made by.
    pub(super) settings: Arc<RegistrySettings>,
}

impl Stage {
    pub(super) fn new(
        shared: Arc<HostShared>,
        retired: Arc<Retired>,
        compiled: Vec<Compiled>,
        settings: Arc<RegistrySettings>,
    ) -> Result<Self, PluginError> {
        let compiled = compiled.into_iter().map(|compiled| {
            let manifest = compiled_manifest(&compiled)?;
            Ok((manifest.name.clone(), (compiled, manifest)))
        });
        Ok(Self {
            compiled: compiled.collect::<Result<_, PluginError>>()?,
            loader: Loader::new(shared.clone(), retired),
            shared,
            order: 0,
            settings,
        })
    }

    /// Places every instance by the pipeline's settings of this change; an instance whose place is the same keeps it.
    pub(super) fn place(&self, instances: &mut [Instance]) {
        for instance in instances {
            let entry = self.entry(instance, instance.entry.lease.clone(), instance.entry.stats.clone());
            if entry.fails_request != instance.entry.fails_request {
                instance.entry = Arc::new(entry);
            }
        }
    }

    /// Makes one change to the staged instances.
    pub(super) async fn make(&mut self, staged: &mut Staged, change: Change) -> Result<(), PluginError> {
        let Staged { before, instances, .. } = staged;
        if change.makes_instances() {
            self.loader.stuck.check()?;
        }
        match change {
            Change::Load(spec) => self.load(instances, before, spec).await,
            Change::Unload(name) => position(instances, &name).map(|at| drop(instances.remove(at))),
            Change::Enable(name) => position(instances, &name).map(|at| instances[at].enabled = true),
            Change::Disable(name) => position(instances, &name).map(|at| instances[at].enabled = false),
            Change::Reload(name) => self.reload(instances, &name).await,
            Change::Isolate { name, isolation, sandbox } => {
                let at = position(instances, &name)?;
                self.isolate(instances, at, isolation, &sandbox).await
            }
            Change::Update { name, priority, on_error, config } => {
                let at = position(instances, &name)?;
                let instance = &mut instances[at];
                instance.priority = priority.after(instance.priority);
                instance.on_error = on_error.after(instance.on_error);
                if config.is_keep() {
                    let entry =
                        self.entry(instance, instance.entry.lease.clone(), instance.entry.stats.clone());
                    instance.entry = Arc::new(entry);
                } else {
                    instance.config = Arc::new(config.after(None).unwrap_or_else(no_config));
                    let (instance, old) = (instance.clone(), instance.entry.lease.clone());
                    instances[at] = self.make_again(instance, Some(old), false).await?;
                }
                Ok(())
            }
        }
    }

    async fn load(
        &mut self,
        instances: &mut Vec<Instance>,
        before: &[Instance],
        spec: PluginSpec,
    ) -> Result<(), PluginError> {
        let checksum = spec.checksum();
        let PluginSpec { name, source, priority, on_error, config, origin, id, isolation, sandbox, .. } =
            spec;
        if let Some(name) = &name {
            self.check_place(instances, name)?;
        }
        let sha256: Option<Arc<str>> = checksum.map(Into::into);
        let wanted = isolation.unwrap_or(self.settings.plugins.isolation);
        let plugin = self.find(instances, source, name.as_deref(), sha256.as_deref(), wanted).await?;
        let name = name.unwrap_or_else(|| plugin.name.to_string());
        self.check_place(instances, &name)?;
        let merged = Arc::new(plugin.sandbox(&name, isolation, &sandbox, &self.settings.plugins)?);
        let config = Arc::new(config.unwrap_or_else(no_config));
        let construction = Construction {
            name: &name,
            plugin: &plugin.name,
            module: plugin.module,
            config: &config,
            library: plugin.library.as_ref(),
            child: self.settings.plugins.child.as_ref(),
            sandbox: &merged,
            by_hand: plugin.by_hand,
            old: None,
        };
        // It takes the place of an instance that this change unloads, and that cannot live beside it.
        let is_exclusive = |old: &&Instance| old.is_exclusive() || is_exclusive(plugin.manifest.as_deref());
        let old = before.iter().find(|old| old.name() == name && old.failed.is_none()).filter(is_exclusive);
        let (made, pending) = match old {
            Some(old) if construction.by_hand.is_none() => {
                construction.check(&self.shared).await?;
                let (lease, home, process) = (old.entry.lease.clone(), old.home.clone(), old.process.clone());
                (Constructed { lease, home, process }, Some(self.pending()))
            }
            _ => (construction.run(&self.shared).await?, None),
        };
        let Constructed { lease, home, process } = made;
        let entry = Entry {
            name: name.as_str().into(),
            priority: 0,
            order: self.order,
            fails_request: false,
            is_whole: false,
            stats: Arc::new(Stats::default()),
            lease,
        };
        self.order += 1;
        let mut instance = Instance {
            plugin: plugin.name,
            manifest: plugin.manifest,
            module: plugin.module,
            library: plugin.library,
            isolation: plugin.isolation,
            sandbox: merged,
            own_isolation: isolation,
            own_sandbox: Arc::new(sandbox),
            process,
            priority,
            on_error,
            sha256,
            config,
            enabled: true,
            origin,
            id,
            entry: Arc::new(entry),
            home,
            loaded_at: SystemTime::now(),
            pending,
            failed: None,
        };
        let entry = self.entry(&instance, instance.entry.lease.clone(), instance.entry.stats.clone());
        instance.entry = Arc::new(entry);
        instance.warn_of_missed_streams();
        instances.push(instance);
        Ok(())
    }

    async fn open(
        &mut self,
        path: &Path,
        sha256: Option<&str>,
        plugin: Option<&str>,
        isolation: Isolation,
    ) -> Result<LoadedLibrary, PluginError> {
        let options =
            VerifyOptions { sha256: sha256.map(str::to_owned), ..self.settings.plugins.verify_options() };
        let PluginsConfig { max_retired_images, copy_dir, trial, .. } = &self.settings.plugins;
        let (max_retired_images, copy_dir, trial) =
            (*max_retired_images, copy_dir.as_deref(), trial.as_ref());
        let request = LoadRequest { path, options, plugin, max_retired_images, copy_dir, trial, isolation };
        Ok(self.loader.open(request).await?)
    }

    /// Loads a new generation of a library, for all its instances (rule D4).
    async fn reload(&mut self, instances: &mut [Instance], name: &str) -> Result<(), PluginError> {
        let at = position(instances, name)?;
        let Some(path) = instances[at].path().map(Path::to_owned) else {
            return Err(PluginError::NotALibrary { name: name.to_owned() });
        };
        // All of them run the new bytes, so the checksum that one of them requires holds for all.
        let mut asked = instances
            .iter()
            .filter(|instance| instance.path() == Some(&path))
            .filter_map(|it| it.sha256.clone());
        let sha256 = asked.next();
        if let (Some(one), Some(other)) = (&sha256, asked.find(|it| Some(it) != sha256.as_ref())) {
            let error = LibraryError::Checksum { expected: other.to_string(), found: one.to_string() };
            return Err(PluginError::Library { path, error });
        }
        let plugin = instances[at].plugin.clone();
        let mut opened: Vec<LoadedLibrary> = Vec::new();
        for instance in instances.iter_mut().filter(|instance| instance.path() == Some(&path)) {
            let (was_exclusive, isolation) = (instance.is_exclusive(), instance.isolation);
            // One image, and one copy for child processes.
            let is_isolated = isolation == Isolation::Process;
            let library = match opened.iter().find(|library| library.module().is_none() == is_isolated) {
                Some(library) => library.clone(),
                None => self.open(&path, sha256.as_deref(), Some(&plugin), isolation).await?,
            };
            opened.push(library.clone());
            instance.module = library.module();
            instance.manifest = Some(library.manifest.clone());
            instance.library = Some(library.clone());
            let again = self.make_again(instance.clone(), None, was_exclusive).await?;
            *instance = again;
        }
        Ok(())
    }

    /// Makes an instance again, from its module and configuration. It takes the place of an old one of the same module if
    /// there is one. An exclusive instance is only checked, and made when the old one is gone.
    pub(super) async fn make_again(
        &mut self,
        mut instance: Instance,
        old: Option<Arc<Lease>>,
        was_exclusive: bool,
    ) -> Result<Instance, PluginError> {
        let is_exclusive = was_exclusive || instance.is_exclusive();
        // A failed instance holds nothing.
        if instance.pending.is_none() && (!is_exclusive || instance.failed.is_some()) {
            return self.construct(instance, old).await;
        }
        let child = self.settings.plugins.child.as_ref();
        Construction::again(&instance, None, child)?.check(&self.shared).await?;
        let entry = self.entry(&instance, instance.entry.lease.clone(), instance.entry.stats.clone());
        instance.entry = Arc::new(entry);
        instance.pending = Some(instance.pending.unwrap_or_else(|| self.pending()));
        Ok(instance)
    }

    /// Constructs an instance, from its module and configuration.
    pub(super) async fn construct(
        &mut self,
        mut instance: Instance,
        old: Option<Arc<Lease>>,
    ) -> Result<Instance, PluginError> {
        let child = self.settings.plugins.child.as_ref();
        let made = Construction::again(&instance, old, child)?.run(&self.shared).await?;
        instance.entry = Arc::new(self.entry(&instance, made.lease, instance.entry.stats.clone()));
        (instance.home, instance.process) = (made.home, made.process);
        instance.loaded_at = SystemTime::now();
        (instance.pending, instance.failed) = (None, None);
        Ok(instance)
    }

    fn pending(&self) -> Pending {
        Pending { tried: self.loader.tried.clone() }
    }

    /// Returns the place of an instance in the pipeline, by its settings, its manifest's, and the pipeline's.
    fn entry(&self, instance: &Instance, lease: Arc<Lease>, stats: Arc<Stats>) -> Entry {
        let manifest = instance.manifest.as_deref();
        let priority = instance.priority.or(manifest.map(|manifest| manifest.priority));
        let is_whole = manifest.is_some_and(|manifest| manifest.streams == Some(Streams::Whole));
        let own = manifest.and_then(|manifest| manifest.on_error).or(is_whole.then_some(OnError::Fail));
        let on_error = instance.on_error.or(own);
        Entry {
            name: instance.entry.name.clone(),
            priority: priority.unwrap_or(llmux_abi::host::PluginManifest::DEFAULT_PRIORITY),
            order: instance.entry.order,
            fails_request: on_error
                .map_or(self.settings.pipeline.propagate_errors, |on_error| on_error == OnError::Fail),
            is_whole: is_whole && lease.hooks().has(HookKind::Post),
            stats,
            lease,
        }
    }

    fn check_place(&self, instances: &[Instance], name: &str) -> Result<(), PluginError> {
        let name = name.to_owned();
        if !is_name(&name) {
            return Err(PluginError::InvalidName { name });
        }
        if instances.iter().any(|instance| instance.name() == name) {
            return Err(PluginError::DuplicatePlugin { name });
        }
        match self.settings.pipeline.max_plugins {
            max if instances.len() >= max => Err(PluginError::TooManyPlugins { max }),
            _ => Ok(()),
        }
    }

    pub(super) async fn find(
        &mut self,
        instances: &[Instance],
        source: PluginSource,
        name: Option<&str>,
        sha256: Option<&str>,
        isolation: Isolation,
    ) -> Result<Plugin, PluginError> {
        match source {
            PluginSource::Path(path) => {
                // One library serves several instances: the image that is in use is used again.
                let mut used = instances.iter().rev().filter_map(|instance| instance.library.as_ref());
                let is_isolated = isolation == Isolation::Process;
                let is_same = |library: &&LoadedLibrary| {
                    library.path == path && library.module().is_none() == is_isolated
                };
                let library = match used.find(is_same) {
                    Some(library) if sha256.is_none_or(|sha256| sha256 == &*library.sha256) => {
                        library.clone()
                    }
                    _ => self.open(&path, sha256, None, isolation).await?,
                };
                Ok(Plugin {
                    name: library.manifest.name.as_str().into(),
                    manifest: Some(library.manifest.clone()),
                    module: library.module(),
                    library: Some(library),
                    isolation,
                    by_hand: None,
                })
            }
            PluginSource::Plugin(plugin) => {
                // A library wins over a compiled-in plugin of its name (rule D8), unless it was refused.
                match (find(&self.settings.plugins, &plugin).await?, self.compiled.get(&plugin)) {
                    (Found::Good(path), _) | (Found::Refused(path), None) => {
                        Box::pin(self.find(instances, PluginSource::Path(path), name, sha256, isolation))
                            .await
                    }
                    (_, Some((compiled, manifest))) => Ok(compiled_plugin(compiled, manifest.clone())),
                    (Found::Nothing(files), None) => Err(PluginError::UnknownPlugin { plugin, files }),
                }
            }
            PluginSource::Compiled(compiled) => {
                let manifest = compiled_manifest(&compiled)?;
                Ok(compiled_plugin(&compiled, manifest))
            }
            PluginSource::Module(module) => {
                let name = name.unwrap_or_default().into();
                Ok(compiled_in(name, Some(module), None))
            }
            PluginSource::ByHand(by_hand) => {
                let name = name.unwrap_or_default().into();
                Ok(compiled_in(name, None, Some(by_hand)))
            }
        }
    }
}

fn position(instances: &[Instance], name: &str) -> Result<usize, PluginError> {
    let at = instances.iter().position(|instance| instance.name() == name);
    at.ok_or_else(|| PluginError::PluginNotFound { name: name.to_owned() })
}
