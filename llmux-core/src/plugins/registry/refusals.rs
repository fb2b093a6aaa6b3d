//! The libraries that were refused, for the operator to see: what, and why; and those that somebody unloaded.
//!
//! Both are for `rescan`, which looks at every file again: it must neither tell the same twice, nor run code again that
//! failed, nor bring back what was taken out.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
    time::SystemTime,
};

use crate::plugins::{
    library::manifest::OnError,
    report::{
        error::PluginError,
        info::{self, PluginInfo, PluginKind, PluginState},
    },
};

/// A library that was refused.
#[derive(Clone, Debug)]
pub(super) struct Problem {
    seen: Seen,
    /// Had its own code begun to run? Then the same file would come to the same.
    ran: bool,
    pub(super) why: String,
    pub(super) since: u64,
}

impl Problem {
    /// What an operator sees of a library that was refused.
    pub(super) fn info(self, path: PathBuf) -> PluginInfo {
        let name = path.file_stem().unwrap_or_default().to_string_lossy();
        PluginInfo {
            name: name.trim_start_matches(std::env::consts::DLL_PREFIX).to_owned(),
            plugin: String::new(),
            version: None,
            kind: PluginKind::Library,
            file_missing: info::is_gone(&path),
            library: Some(path),
            state: PluginState::Failed,
            priority: 0,
            on_error: OnError::Continue,
            generation: 0,
            sha256: None,
            loaded_at: self.since,
            autoloaded: false,
            error: Some(self.why),
            hooks: Vec::new(),
        }
    }
}

/// What a file was: whoever wants it tried again writes it again, or touches it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Seen {
    /// Of its bytes, where they could be read.
    sha256: Option<String>,
    modified: Option<SystemTime>,
}

impl Seen {
    fn of(path: &Path, sha256: Option<&str>) -> Self {
        let modified = fs::metadata(path).and_then(|metadata| metadata.modified()).ok();
        Self { sha256: sha256.map(str::to_owned), modified }
    }
}

/// The libraries that were refused, and those that were unloaded, by their files.
#[derive(Default)]
pub(super) struct Problems {
    files: Mutex<BTreeMap<PathBuf, Problem>>,
    unloaded: Mutex<BTreeMap<PathBuf, Seen>>,
}

impl Problems {
    pub(super) fn note(&self, path: &Path, sha256: Option<&str>, error: &PluginError) {
        let (why, seen) = (error.to_string(), Seen::of(path, sha256));
        let mut files = self.files();
        let known = files.get(path).filter(|known| known.why == why);
        let since = known.map_or_else(|| info::seconds(SystemTime::now()), |known| known.since);
        files.insert(path.to_owned(), Problem { seen, ran: error.is_of_its_code(), why, since });
    }

    /// Did its own code fail, and is the file what it was then?
    pub(super) fn would_fail_again(&self, path: &Path, sha256: Option<&str>) -> bool {
        self.files().get(path).is_some_and(|it| it.ran && it.seen == Seen::of(path, sha256))
    }

    /// Why this file is refused, if that was told. Whoever writes or touches it wants to hear of it again.
    pub(super) fn told(&self, path: &Path, sha256: Option<&str>) -> Option<String> {
        let seen = Seen::of(path, sha256);
        self.files().get(path).filter(|it| it.seen == seen).map(|it| it.why.clone())
    }

    /// Takes note of a library that was unloaded while its file is there.
    pub(super) fn note_unloaded(&self, path: &Path, sha256: &str) {
        let seen = Seen::of(path, Some(sha256));
        self.unloaded().insert(path.to_owned(), seen);
    }

    /// Was it unloaded, and is the file what it was then?
    pub(super) fn is_unloaded(&self, path: &Path, sha256: Option<&str>) -> bool {
        self.unloaded().get(path).is_some_and(|seen| *seen == Seen::of(path, sha256))
    }

    /// Forgets what is known of all files but these.
    pub(super) fn retain(&self, keep: impl Fn(&Path) -> bool) {
        self.files().retain(|path, _| keep(path));
        self.unloaded().retain(|path, _| keep(path));
    }

    pub(super) fn of(&self, path: &Path) -> Option<Problem> {
        self.files().get(path).cloned()
    }

    pub(super) fn all(&self) -> Vec<(PathBuf, Problem)> {
        self.files().iter().map(|(path, problem)| (path.clone(), problem.clone())).collect()
    }

    fn files(&self) -> MutexGuard<'_, BTreeMap<PathBuf, Problem>> {
        self.files.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn unloaded(&self) -> MutexGuard<'_, BTreeMap<PathBuf, Seen>> {
        self.unloaded.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
