//! The libraries that were refused, by their files: the reason, and the state of the file at that time.
//!
//! `plan` reads it, so that code that failed is not run again without need; `apply` fills it, so that the same refusal is
//! reported once; the list of plugins shows it.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    time::SystemTime,
};

use crate::plugins::{
    library::{
        inspect::InspectedLibrary,
        isolation::Isolation,
        manifest::{Manifest, OnError},
    },
    report::{
        error::PluginError,
        info::{self, Origin, PluginInfo, PluginKind, PluginState},
    },
};

/// The libraries that were refused.
#[derive(Default)]
pub(super) struct Refusals(BTreeMap<PathBuf, Refusal>);

/// A library that was refused.
struct Refusal {
    sha256: Option<String>,
    modified: Option<SystemTime>,
    manifest: Option<Manifest>,
    /// True if the plugin's own code failed: retrying the unchanged file would fail again.
    ran: bool,
    why: String,
    /// Seconds since the Unix epoch.
    since: u64,
}

impl Refusal {
    fn is_of(&self, file: &InspectedLibrary) -> bool {
        (&self.sha256, self.modified) == (&file.sha256, file.modified)
    }
}

impl Refusals {
    /// Notes a refusal. Returns whether the reason is new for this state of the file, and so is to be reported.
    pub(super) fn note(&mut self, file: &InspectedLibrary, error: &PluginError) -> bool {
        let why = error.to_string();
        let known = self.0.get(&file.path);
        let is_new = !known.is_some_and(|known| known.is_of(file) && known.why == why);
        let since = known.filter(|known| known.why == why).map(|known| known.since);
        let refusal = Refusal {
            sha256: file.sha256.clone(),
            modified: file.modified,
            manifest: file.manifest.clone(),
            ran: error.is_of_its_code(),
            why,
            since: since.unwrap_or_else(|| info::seconds(SystemTime::now())),
        };
        self.0.insert(file.path.clone(), refusal);
        is_new
    }

    /// True if the library's own code failed, and the file was neither written nor touched since.
    pub(super) fn would_fail_again(&self, file: &InspectedLibrary) -> bool {
        self.0.get(&file.path).is_some_and(|refusal| refusal.ran && refusal.is_of(file))
    }

    /// Returns the reason why a file was refused.
    pub(super) fn why(&self, path: &Path) -> Option<&str> {
        self.0.get(path).map(|refusal| refusal.why.as_str())
    }

    /// Forgets every file but these.
    pub(super) fn retain(&mut self, keep: impl Fn(&Path) -> bool) {
        self.0.retain(|path, _| keep(path));
    }

    /// Returns the rows of the list: one for each refused file. A file that an instance runs has none, nor has one whose
    /// code failed while an instance of another file runs the same bytes.
    pub(super) fn rows(&self, running: &[PluginInfo]) -> Vec<PluginInfo> {
        let runs = |path: &Path, refusal: &Refusal| {
            running.iter().any(|info| {
                info.library.as_deref() == Some(path)
                    || (refusal.ran && info.sha256.is_some() && info.sha256 == refusal.sha256)
            })
        };
        self.0.iter().filter(|(path, refusal)| !runs(path, refusal)).map(|(path, it)| it.row(path)).collect()
    }
}

impl Refusal {
    /// The row of the list, with the plugin's own priority and `on_error` if the manifest could be read.
    fn row(&self, path: &Path) -> PluginInfo {
        let name = path.file_stem().unwrap_or_default().to_string_lossy();
        let manifest = self.manifest.as_ref();
        PluginInfo {
            name: name.trim_start_matches(std::env::consts::DLL_PREFIX).to_owned(),
            plugin: manifest.map(|manifest| manifest.name.clone()).unwrap_or_default(),
            version: manifest.map(|manifest| manifest.version.to_string()),
            kind: PluginKind::Library,
            library: Some(path.to_owned()),
            state: PluginState::Failed,
            priority: manifest.map_or(0, |manifest| manifest.priority),
            on_error: manifest.and_then(|manifest| manifest.on_error).unwrap_or(OnError::Continue),
            generation: 0,
            sha256: self.sha256.clone(),
            loaded_at: self.since,
            copy_in_memory: false,
            file_missing: info::is_gone(path),
            origin: Origin::Folder,
            misses_streams: manifest.is_some_and(|manifest| manifest.misses_streams()),
            error: Some(self.why.clone()),
            isolation: Isolation::None,
            process: None,
            streams: manifest.and_then(|manifest| manifest.streams),
            implements: Vec::new(),
            short_circuits: 0,
            cached: 0,
            hooks: Vec::new(),
        }
    }
}
