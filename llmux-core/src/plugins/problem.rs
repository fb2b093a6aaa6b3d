//! The libraries that were refused, for the operator to see: what, and why.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
    time::SystemTime,
};

use super::listing;

/// A library that was refused.
#[derive(Clone, Debug)]
pub(super) struct Problem {
    /// The bytes that were refused, where they could be read.
    sha256: Option<String>,
    pub(super) why: String,
    pub(super) since: u64,
}

/// The libraries that were refused, by their files.
#[derive(Default)]
pub(super) struct Problems {
    files: Mutex<BTreeMap<PathBuf, Problem>>,
}

impl Problems {
    pub(super) fn note(&self, path: &Path, sha256: Option<&str>, why: String) {
        let since = listing::seconds(SystemTime::now());
        let problem = Problem { sha256: sha256.map(str::to_owned), why, since };
        self.files().insert(path.to_owned(), problem);
    }

    /// Were these bytes refused before, or, where they could not be read, for this reason?
    pub(super) fn knows(&self, path: &Path, sha256: Option<&str>, why: Option<&str>) -> bool {
        self.files().get(path).is_some_and(|problem| match (sha256, why) {
            (Some(_), _) => problem.sha256.as_deref() == sha256,
            (None, Some(why)) => problem.why.ends_with(why),
            (None, None) => false,
        })
    }

    pub(super) fn retain(&self, keep: impl Fn(&Path) -> bool) {
        self.files().retain(|path, _| keep(path));
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
}
