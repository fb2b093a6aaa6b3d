//! The folder of this process for private copies: made below a folder for temporary files, locked while the process
//! lives, and removed with it. The folder of a killed process is removed by the next process that makes one.
//!
//! `private_copy` calls it.

use std::{
    fs::{self, File, TryLockError},
    io,
    path::Path,
};

use tempfile::TempDir;

/// Beginning of the names of the folders, among the temporary files.
const PREFIX: &str = "llmux-copies-";
/// File in a folder that its process holds a lock on. If the lock is free, or the file is missing, the process is dead or
/// has not locked it yet.
const LOCK: &str = "lock";
/// Number of folders to make before the host gives up. Another process may remove one before it is locked.
const TRIES: usize = 20;

/// A folder that only this user reaches.
pub(super) struct CopyFolder {
    folder: TempDir,
    _lock: File,
}

impl CopyFolder {
    /// Makes a folder, and removes the folders of dead processes.
    pub(super) fn new(within: &Path) -> io::Result<Self> {
        check_execution(within)?;
        sweep(within);
        for _ in 0..TRIES {
            if let Some(folder) = Self::try_new(within)? {
                return Ok(folder);
            }
        }
        Err(io::ErrorKind::ResourceBusy.into())
    }

    /// Makes a folder. Returns `None` if another process removed it, because it was not locked yet.
    fn try_new(within: &Path) -> io::Result<Option<Self>> {
        let mut builder = tempfile::Builder::new();
        builder.prefix(PREFIX);
        // Another user who could write here could exchange a copy after the checks.
        #[cfg(unix)]
        builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o700));
        let folder = builder.tempdir_in(within)?;
        let path = folder.path().join(LOCK);
        let lock = match File::create_new(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            lock => lock?,
        };
        match lock.try_lock() {
            // From here on, no other process takes the lock, so that the folder stays if it is still there.
            Ok(()) if path.exists() => Ok(Some(Self { folder, _lock: lock })),
            Ok(()) | Err(TryLockError::WouldBlock) => Ok(None),
            // A system without locks leaves folders behind.
            Err(TryLockError::Error(_)) => Ok(Some(Self { folder, _lock: lock })),
        }
    }

    pub(super) fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Returns true if the folder is still the one that was made. A cleaner of temporary files may have removed it, and
    /// another user could then have made one of this name.
    pub(super) fn is_ours(&self) -> bool {
        is_ours(self.path())
    }

    /// Gives the folder up without removing it.
    pub(super) fn abandon(self) {
        let _ = self.folder.keep();
    }
}

/// Refuses a folder whose file system permits no execution: the system's loader would refuse a copy there, and would not
/// name the reason.
#[cfg(target_os = "linux")]
fn check_execution(folder: &Path) -> io::Result<()> {
    use rustix::fs::{StatVfsMountFlags, statvfs};
    match statvfs(folder)?.f_flag.contains(StatVfsMountFlags::NOEXEC) {
        true => Err(io::Error::new(io::ErrorKind::Unsupported, "it is mounted noexec")),
        false => Ok(()),
    }
}

#[cfg(not(target_os = "linux"))]
fn check_execution(_: &Path) -> io::Result<()> {
    Ok(())
}

/// Removes the folders that killed processes of this user left behind.
fn sweep(within: &Path) {
    for entry in fs::read_dir(within).into_iter().flatten().flatten() {
        let path = entry.path();
        if !entry.file_name().as_encoded_bytes().starts_with(PREFIX.as_bytes()) || !is_ours(&path) {
            continue;
        }
        // Another process may remove the folder, too.
        let _ = match File::open(path.join(LOCK)) {
            Ok(lock) if lock.try_lock().is_ok() => fs::remove_dir_all(&path),
            // Its process was killed before it made the lock, and nothing can be in it.
            Err(error) if error.kind() == io::ErrorKind::NotFound => fs::remove_dir(&path),
            _ => Ok(()),
        };
    }
}

/// True if the path is a folder, not a symlink, that only this user could write to.
fn is_ours(path: &Path) -> bool {
    let Ok(metadata) = fs::symlink_metadata(path) else { return false };
    #[cfg(unix)]
    let is_ours = {
        use std::os::unix::fs::MetadataExt;
        metadata.uid() == rustix::process::geteuid().as_raw() && metadata.mode() & 0o077 == 0
    };
    #[cfg(not(unix))]
    let is_ours = true;
    metadata.is_dir() && is_ours
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_made_while_other_processes_sweep() {
        use std::sync::atomic::{AtomicBool, Ordering};
        let within = tempfile::tempdir().expect("a folder");
        let made = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !made.load(Ordering::Relaxed) {
                    sweep(within.path());
                }
            });
            let folders: Vec<_> = (0..100).map(|_| CopyFolder::new(within.path()).expect("made")).collect();
            made.store(true, Ordering::Relaxed);
            assert!(folders.iter().all(|folder| folder.path().join(LOCK).exists()), "each is still there");
        });
    }

    #[cfg(unix)]
    #[test]
    fn a_dead_processs_folder_is_removed_and_a_living_ones_and_a_strangers_are_not() {
        use std::os::unix::fs::{PermissionsExt, symlink};
        let within = tempfile::tempdir().expect("a folder");
        let make = |name: &str| {
            let path = within.path().join(format!("{PREFIX}{name}"));
            fs::create_dir(&path).expect("made");
            fs::set_permissions(&path, fs::Permissions::from_mode(0o700)).expect("set");
            fs::write(path.join(LOCK), "").expect("written");
            fs::write(path.join("copy.so"), "bytes").expect("written");
            path
        };
        let (dead, open) = (make("dead"), make("open"));
        fs::set_permissions(&open, fs::Permissions::from_mode(0o755)).expect("set");
        let killed = make("killed-before-it-made-the-lock");
        fs::remove_dir_all(&killed).and_then(|()| fs::create_dir(&killed)).expect("made");
        fs::set_permissions(&killed, fs::Permissions::from_mode(0o700)).expect("set");
        let unlocked = make("killed-before-it-took-the-lock");
        fs::remove_file(unlocked.join("copy.so")).expect("removed");
        let elsewhere = tempfile::tempdir().expect("a folder");
        fs::write(elsewhere.path().join(LOCK), "").expect("written");
        let link = within.path().join(format!("{PREFIX}link"));
        symlink(elsewhere.path(), &link).expect("linked");
        let living = CopyFolder::try_new(within.path()).expect("made").expect("no other process sweeps");
        sweep(within.path());
        assert!(!dead.exists(), "nobody holds its lock");
        assert!(living.path().exists(), "its lock is held");
        assert!(open.exists(), "others could have put things into it");
        assert!(!killed.exists() && !unlocked.exists(), "no process holds a lock in them");
        assert!(elsewhere.path().join(LOCK).exists() && link.exists(), "a link is not followed");
    }
}
