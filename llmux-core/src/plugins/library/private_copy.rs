//! Private copies of libraries: exactly the bytes that were checked, in a folder that only this user reaches.
//!
//! `image` writes one for each load. A copy's path is new every time, since the system's loader knows images by path.
//! The folder goes with the process; one whose process was killed is removed by the next process that loads anything.

use std::{
    fs::{self, File},
    io::{self, Write},
    path::{Path, PathBuf},
};

use tempfile::TempDir;

use super::{error::shown, verify::VerifiedLibrary};

/// Beginning of the names of the folders, among the temporary files.
const PREFIX: &str = "llmux-copies-";
/// File in a folder that its process holds a lock on. If the lock is free, the process is dead.
const LOCK: &str = "lock";

/// Writer of private copies.
#[derive(Default)]
pub(super) struct Copies {
    folder: Option<Folder>,
    /// Number of copies so far. It is part of each name: two files of the same bytes are two images.
    made: u64,
}

struct Folder {
    folder: TempDir,
    _lock: File,
}

impl Copies {
    /// Writes a copy to a path that was never used before. An error names the folder for temporary files.
    pub(super) fn write(&mut self, library: &VerifiedLibrary) -> io::Result<PathBuf> {
        let temporary = std::env::temp_dir();
        let written = check_execution(&temporary).and_then(|()| self.write_below(&temporary, library));
        written.map_err(|error| {
            // The text of another kind has the folder's random name: the same refusal would read differently each time.
            let why = match error.kind() {
                io::ErrorKind::Unsupported => error.to_string(),
                kind => kind.to_string(),
            };
            let why = format!(
                "{}: {why}; TMPDIR must name a writable folder that permits execution",
                shown(&temporary)
            );
            io::Error::new(error.kind(), why)
        })
    }

    fn write_below(&mut self, temporary: &Path, library: &VerifiedLibrary) -> io::Result<PathBuf> {
        // A cleaner of temporary files may have removed the folder; another user could then have made one of this name.
        if let Some(lost) = self.folder.take_if(|folder| !is_ours(folder.folder.path())) {
            let _ = lost.folder.keep();
        }
        let folder = match &self.folder {
            Some(folder) => folder,
            None => {
                sweep(temporary);
                self.folder.insert(Folder::new(temporary)?)
            }
        };
        self.made += 1;
        let name = format!("{}-{}.{}", library.sha256, self.made, std::env::consts::DLL_EXTENSION);
        let path = folder.folder.path().join(name);
        let mut options = File::options();
        options.write(true).create_new(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let written = options.open(&path).and_then(|mut file| file.write_all(&library.bytes));
        // A part of a copy would fill the folder for good.
        written.inspect_err(|_| drop(fs::remove_file(&path)))?;
        Ok(path)
    }
}

impl Folder {
    fn new(within: &Path) -> io::Result<Self> {
        let mut builder = tempfile::Builder::new();
        builder.prefix(PREFIX);
        // Another user who could write here could exchange a copy after the checks.
        #[cfg(unix)]
        builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o700));
        let folder = builder.tempdir_in(within)?;
        let new = folder.path().join("lock.new");
        let lock = File::create_new(&new)?;
        // The file gets its name once it is locked, so that no other process removes the folder in between. A system
        // without locks leaves folders behind.
        if lock.try_lock().is_ok() {
            fs::rename(&new, folder.path().join(LOCK))?;
        }
        Ok(Self { folder, _lock: lock })
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
        let Ok(lock) = File::open(path.join(LOCK)) else { continue };
        if lock.try_lock().is_ok() {
            // Another process may remove the folder, too.
            let _ = fs::remove_dir_all(&path);
        }
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
    use crate::plugins::library::{manifest::Manifest, signature::SignatureState};

    fn library() -> VerifiedLibrary {
        let manifest = llmux_abi::raw::entry::ENTRY_PREFIX;
        let manifest = format!(
            r#"{{"name":"p","version":"1.0.0","description":"","authors":"","license":"","abi":"0.1.0","sdk":"",
                "rustc":"","target":"","panic":"unwind","entry":"{manifest}p","priority":1}}"#
        );
        VerifiedLibrary {
            path: "libp.so".into(),
            bytes: b"the same".to_vec(),
            sha256: "ab".to_owned(),
            manifest: Manifest::parse(manifest.as_bytes()).expect("a manifest"),
            signature: SignatureState::Missing,
        }
    }

    #[test]
    fn d2_equal_bytes_are_copied_to_a_path_that_was_never_used() {
        let mut copies = Copies::default();
        let first = copies.write(&library()).expect("written");
        fs::remove_file(&first).expect("removed, as after it is mapped");
        assert_ne!(copies.write(&library()).expect("written"), first);
    }

    #[cfg(unix)]
    #[test]
    fn the_folder_of_copies_is_its_users_alone() {
        use std::os::unix::fs::PermissionsExt;
        let mut copies = Copies::default();
        let copy = copies.write(&library()).expect("written");
        let mode = |path: &Path| fs::metadata(path).expect("there").permissions().mode() & 0o777;
        assert_eq!((mode(copy.parent().expect("a folder")), mode(&copy)), (0o700, 0o600));
    }

    #[cfg(unix)]
    #[test]
    fn d2_a_folder_that_was_cleaned_away_is_made_anew_and_one_in_its_place_is_left_alone() {
        use std::os::unix::fs::{PermissionsExt, symlink};
        let mut copies = Copies::default();
        let lose = |copies: &mut Copies| {
            let copy = copies.write(&library()).expect("written, whatever became of the folder before");
            let folder = copy.parent().expect("a folder").to_owned();
            fs::remove_dir_all(&folder).expect("removed");
            folder
        };
        let gone = lose(&mut copies);
        let open = lose(&mut copies);
        fs::create_dir(&open).expect("made");
        fs::set_permissions(&open, fs::Permissions::from_mode(0o777)).expect("set");
        fs::write(open.join("mine"), "").expect("written");
        let elsewhere = tempfile::tempdir().expect("a folder");
        fs::set_permissions(elsewhere.path(), fs::Permissions::from_mode(0o700)).expect("set");
        let link = lose(&mut copies);
        symlink(elsewhere.path(), &link).expect("linked");
        let last = lose(&mut copies);
        let entries = |path: &Path| fs::read_dir(path).expect("there").count();
        assert_eq!(
            (entries(&open), entries(elsewhere.path())),
            (1, 0),
            "nothing was written or removed there"
        );
        assert!(!gone.exists() && ![&gone, &open, &link].contains(&&last), "{last:?}");
        fs::remove_dir_all(&open).and_then(|()| fs::remove_file(&link)).expect("removed");
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
        let starting = make("starting");
        fs::remove_file(starting.join(LOCK)).expect("removed");
        let elsewhere = tempfile::tempdir().expect("a folder");
        fs::write(elsewhere.path().join(LOCK), "").expect("written");
        let link = within.path().join(format!("{PREFIX}link"));
        symlink(elsewhere.path(), &link).expect("linked");
        let living = Folder::new(within.path()).expect("made");
        sweep(within.path());
        assert!(!dead.exists(), "nobody holds its lock");
        assert!(living.folder.path().exists(), "its lock is held");
        assert!(open.exists(), "others could have put things into it");
        assert!(starting.exists(), "its lock may be about to come");
        assert!(elsewhere.path().join(LOCK).exists() && link.exists(), "a link is not followed");
    }
}
