//! Looks at the plugin folders again: loads what came, reloads what changed, unloads what went (rules D6, D8).
//!
//! Called at start, and by whoever watches the folders. Every file is checked again each time, since a signature, a right
//! or a checksum may have come; what is refused for the same reason as before is not told again. A file whose own code
//! failed is tried again when it is written anew or touched: each time costs an image.

use std::{collections::HashSet, path::Path};

use super::{Registry, change::Change, find::ambiguous, instance::Instance, spec::PluginSpec};
use crate::plugins::{
    library::inspect::InspectedLibrary,
    report::{
        error::PluginError,
        events::{Edition, PluginEvent},
        info::{self, PluginInfo},
    },
};

/// What became of one library in the folders.
#[derive(Debug)]
pub struct Rescanned {
    /// The instances that are new or changed, or why the library was refused.
    pub result: Result<Vec<PluginInfo>, PluginError>,
}

impl Registry {
    /// One instance of each library in the plugin folders that no instance uses, named as the plugin, with the
    /// configuration `{}` (rule D8), of those that `wanted` says yes to.
    ///
    /// # Errors
    ///
    /// When a folder cannot be read.
    pub async fn autoload(
        &self,
        wanted: impl Fn(&InspectedLibrary) -> bool,
    ) -> Result<Vec<Rescanned>, PluginError> {
        let found = self.discover().await?;
        let mut results = Vec::new();
        for one in found.iter().filter(|one| wanted(one)) {
            if self.users(&one.path).is_empty()
                && let Some(result) = self.come(one, &found).await
            {
                results.push(Rescanned { result });
            }
        }
        Ok(results)
    }

    /// The same, and reloads the instances of libraries whose bytes changed, and unloads autoloaded ones whose
    /// file has gone. With `autoload` off, only libraries in use are looked at. A folder that cannot be read is
    /// refused like a library, and hinders no other.
    ///
    /// # Errors
    ///
    /// When nothing can be looked at, since the system's loader does not come back ([`PluginError::LoaderBusy`]).
    pub async fn rescan(
        &self,
        autoload: bool,
        wanted: impl Fn(&InspectedLibrary) -> bool,
    ) -> Result<Vec<Rescanned>, PluginError> {
        let mut results = Vec::new();
        for name in self.orphans() {
            let result = self.change(vec![Change::Unload(name)]).await;
            results.push(Rescanned { result });
        }
        let found = self.discover_what_is_there().await?;
        let paths: HashSet<_> = found.iter().map(|one| one.path.as_path()).collect();
        self.problems.retain(|path| paths.contains(path));
        for one in &found {
            let users = self.users(&one.path);
            let result = match users.first() {
                Some((name, sha256)) => self.changed(one, name, sha256).await,
                None if autoload && wanted(one) => self.come(one, &found).await,
                None => None,
            };
            if let Some(result) = result {
                results.push(Rescanned { result });
            }
        }
        Ok(results)
    }

    /// A library that no instance uses.
    async fn come(
        &self,
        one: &InspectedLibrary,
        all: &[InspectedLibrary],
    ) -> Option<Result<Vec<PluginInfo>, PluginError>> {
        let refused = match one.accepted() {
            Err(error) => Some(error.to_string()),
            Ok(manifest) => ambiguous(all, &manifest.name).map(|error| error.to_string()),
        };
        if let Some(why) = refused {
            return self.refuse(one, &why).map(Err);
        }
        // Whoever unloaded it wants it out, until the file is another.
        if self.problems.is_unloaded(&one.path, one.sha256.as_deref()) {
            return None;
        }
        let mut spec = PluginSpec::path(&one.path).autoloaded();
        if let Ok(manifest) = one.accepted() {
            // Whether there is a place for it is known before any of it runs.
            spec = spec.with_name(&manifest.name);
        }
        self.attempt_once(one, Change::Load(spec)).await
    }

    /// Makes a change to what a file holds; `None` where that is refused as it was before.
    async fn attempt_once(
        &self,
        one: &InspectedLibrary,
        change: Change,
    ) -> Option<Result<Vec<PluginInfo>, PluginError>> {
        let sha256 = one.sha256.as_deref();
        if self.problems.would_fail_again(&one.path, sha256) {
            return None;
        }
        let told = self.problems.told(&one.path, sha256);
        let attempted = self.attempt(vec![change], told.as_deref(), false).await;
        let Err(error) = &attempted else { return Some(attempted) };
        self.problems.note(&one.path, sha256, error);
        (told != Some(error.to_string())).then_some(attempted)
    }

    /// A library that instances use, whose file may hold other bytes now.
    async fn changed(
        &self,
        one: &InspectedLibrary,
        name: &str,
        running: &str,
    ) -> Option<Result<Vec<PluginInfo>, PluginError>> {
        match (one.accepted(), &one.sha256) {
            (Err(error), _) => Some(Err(self.refuse(one, &error.to_string())?)),
            (Ok(_), Some(sha256)) if sha256 == running => {
                self.problems.retain(|path| path != one.path);
                None
            }
            (Ok(_), _) => self.attempt_once(one, Change::Reload(name.to_owned())).await,
        }
    }

    /// Takes note of a file that is refused before it is loaded; `None` if that is known.
    fn refuse(&self, one: &InspectedLibrary, why: &str) -> Option<PluginError> {
        let error = PluginError::Refused { path: one.path.clone(), why: why.to_owned() };
        let sha256 = one.sha256.as_deref();
        let told = self.problems.told(&one.path, sha256);
        self.problems.note(&one.path, sha256, &error);
        if told == Some(error.to_string()) {
            return None;
        }
        let instances = self.instances().clone();
        let running = instances.iter().find(|instance| instance.path() == Some(&one.path));
        let name = match running {
            Some(instance) => instance.name().to_owned(),
            None => one.path.file_name().unwrap_or(one.path.as_os_str()).to_string_lossy().into_owned(),
        };
        let attempted = if running.is_some() { "reload" } else { "load" };
        self.tell(PluginEvent::refused(
            attempted,
            name,
            running.map(Instance::edition),
            Edition::tried(one),
            error.to_string(),
        ));
        Some(error)
    }

    /// The instances of a library, and the SHA-256 of the bytes they run.
    fn users(&self, path: &Path) -> Vec<(String, String)> {
        let instances = self.instances();
        let used = instances.iter().filter_map(|instance| Some((instance, instance.library.as_ref()?)));
        used.filter(|(_, library)| library.path == path)
            .map(|(instance, library)| (instance.name().to_owned(), library.sha256.to_string()))
            .collect()
    }

    /// The autoloaded instances whose file has gone.
    fn orphans(&self) -> Vec<String> {
        let instances = self.instances();
        let gone = instances
            .iter()
            .filter(|instance| instance.autoloaded && instance.path().is_some_and(info::is_gone));
        gone.map(|instance| instance.name().to_owned()).collect()
    }
}
