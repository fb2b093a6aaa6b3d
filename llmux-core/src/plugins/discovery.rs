//! Finds libraries in the plugin folders, without running any of them (rule D1).

use std::{
    collections::HashSet,
    path::{Path, PathBuf},
    sync::atomic::{AtomicUsize, Ordering},
};

use super::{
    error::{LibraryError, PluginError},
    event::Edition,
    manifest::Manifest,
    signature::SignatureState,
    verify::{self, Examined, VerifiedLibrary, VerifyOptions},
};

/// A file with the platform's extension, and what became of reading it.
#[derive(Debug)]
pub struct Found {
    /// The file.
    pub path: PathBuf,
    /// Its manifest, or why this host would not load it.
    pub manifest: Result<Manifest, LibraryError>,
    /// The SHA-256 of its bytes, where they could be read and trusted.
    pub sha256: Option<String>,
    /// What is known of its signature.
    pub signature: Option<SignatureState>,
    /// What it is for the audit log, where its bytes could be read, trusted or not.
    pub(super) edition: Option<Edition>,
}

/// The extensions of shared libraries, on whatever system.
pub(super) const EVERYWHERE: &[&str] = &["so", "dylib", "dll"];

/// The extension of shared libraries here.
const HERE: &[&str] = &[std::env::consts::DLL_EXTENSION];

/// Every library in the folders, sorted by path. A file that cannot be read hinders nothing else.
///
/// # Errors
///
/// When a folder itself cannot be read.
pub fn discover(folders: &[PathBuf], options: &VerifyOptions) -> Result<Vec<Found>, PluginError> {
    each_file(folders, HERE, |path| {
        let Examined { sha256, manifest, result, .. } = verify::examine(&path, options);
        let edition = sha256.map(|sha256| Edition::tried(&path, manifest.as_ref(), sha256));
        match result {
            Ok(VerifiedLibrary { manifest, sha256, signature, .. }) => {
                let (sha256, signature) = (Some(sha256), Some(signature));
                Found { path, manifest: Ok(manifest), sha256, signature, edition }
            }
            Err(error) => Found { path, manifest: Err(error), sha256: None, signature: None, edition },
        }
    })
}

/// Looks at every file of these extensions in the folders, sorted by path, on as many threads as the machine has cores: reading and
/// hashing is all there is to it, and a folder may hold a thousand.
pub(super) fn each_file<T: Send>(
    folders: &[PathBuf],
    extensions: &[&str],
    look: impl Fn(PathBuf) -> T + Sync,
) -> Result<Vec<T>, PluginError> {
    let mut paths = Vec::new();
    for folder in folders {
        paths.extend(files(folder, extensions)?);
    }
    let threads = std::thread::available_parallelism().map_or(1, usize::from).min(paths.len());
    if threads <= 1 {
        return Ok(paths.into_iter().map(look).collect());
    }
    let next = AtomicUsize::new(0);
    let work = || {
        let at = || Some(next.fetch_add(1, Ordering::Relaxed)).filter(|at| *at < paths.len());
        std::iter::from_fn(at).map(|at| (at, look(paths[at].clone()))).collect::<Vec<_>>()
    };
    let mut seen = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        let seen = threads.into_iter().map(|thread| match thread.join() {
            Ok(seen) => seen,
            Err(panic) => std::panic::resume_unwind(panic),
        });
        seen.flatten().collect::<Vec<_>>()
    });
    seen.sort_by_key(|(at, _)| *at);
    Ok(seen.into_iter().map(|(_, one)| one).collect())
}

/// Folders, each once, whatever its names: a library that is found twice would be two of one name (rule D8).
pub(super) fn distinct(folders: Vec<PathBuf>) -> Vec<PathBuf> {
    let mut seen = HashSet::new();
    let real = |folder: &PathBuf| folder.canonicalize().unwrap_or_else(|_| folder.clone());
    folders.into_iter().filter(|folder| seen.insert(real(folder))).collect()
}

/// The files of a folder that have one of these extensions.
fn files(folder: &Path, extensions: &[&str]) -> Result<Vec<PathBuf>, PluginError> {
    let unreadable =
        |error| PluginError::Library { path: folder.to_owned(), error: LibraryError::Read(error) };
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(unreadable)? {
        let path = entry.map_err(unreadable)?.path();
        if path.extension().is_some_and(|it| extensions.iter().any(|extension| it == *extension)) {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}
