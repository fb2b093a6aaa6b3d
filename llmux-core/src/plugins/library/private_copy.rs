//! Private copies of libraries: exactly the bytes that were checked, in a folder that only this user reaches.
//!
//! `load` and `trial` write one for each load. A copy's path is new every time, since the system's loader knows images by
//! path. If the folder cannot be used, the copy is held in memory. Deliberately absent: the making and removing of the
//! folder, which is in `copy_folder`.

use std::{
    env,
    fs::{self, File},
    io::{self, Write},
    path::{Path, PathBuf},
};

use tempfile::TempPath;

use super::{beside::Names, copy_folder::CopyFolder, error::shown, memory_copy, verify::VerifiedLibrary};

/// Writer of private copies.
#[derive(Default)]
pub(super) struct Copies {
    /// The folders, the current one last. Earlier ones hold the copies of images that are mapped.
    folders: Vec<(PathBuf, CopyFolder)>,
    /// Number of copies so far. It is part of each name: two files of the same bytes are two images.
    made: u64,
    /// The reason of the last copy in memory, as it was logged. Further libraries with the same reason are not logged.
    told: Option<String>,
}

/// A private copy. It is removed with this value, unless it is kept.
pub(in crate::plugins) struct PrivateCopy {
    path: PathBuf,
    place: Place,
}

enum Place {
    /// The library's file, and those of the libraries beside it.
    Files(Vec<TempPath>),
    /// The open descriptor of a copy in memory.
    Memory(File),
}

impl PrivateCopy {
    pub(in crate::plugins) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn is_in_memory(&self) -> bool {
        matches!(self.place, Place::Memory(_))
    }

    /// Keeps the copy until the process ends. Debuggers, profilers and backtraces read symbols from the file. A descriptor
    /// stays open, because another copy under its number would have the path of this image.
    pub(super) fn keep(self) {
        match self.place {
            Place::Files(paths) => paths.into_iter().for_each(|path| drop(path.keep())),
            Place::Memory(file) => std::mem::forget(file),
        }
    }
}

impl Copies {
    /// Writes a copy to a path that was never used before, below `within`, or below the folder for temporary files. An
    /// error names that folder.
    pub(super) fn write(
        &mut self,
        library: &VerifiedLibrary,
        within: Option<&Path>,
    ) -> io::Result<PrivateCopy> {
        let within = within.map_or_else(env::temp_dir, Path::to_owned);
        let written = match self.write_below(&within, library) {
            Ok(copy) => {
                self.told = None;
                Ok(copy)
            }
            Err(error) => self.write_to_memory(&within, library, error),
        };
        written.map_err(|error| {
            let why = why(&error);
            let hint = match error.kind() {
                io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                    "free space there (a restart of the host removes its copies), or "
                }
                _ if !library.beside.is_empty() => "link the libraries beside it statically, or ",
                _ => "",
            };
            let why = format!(
                "{}: {why}; {hint}let `copy_dir` in `[plugins]`, or else TMPDIR, name a writable folder that is not \
                 mounted noexec",
                shown(&within)
            );
            io::Error::new(error.kind(), why)
        })
    }

    fn write_below(&mut self, within: &Path, library: &VerifiedLibrary) -> io::Result<PrivateCopy> {
        let folder = self.folder(within)?;
        let folder = folder.path().to_owned();
        self.made += 1;
        let name = format!("{}-{}.{}", library.sha256, self.made, env::consts::DLL_EXTENSION);
        if library.beside.is_empty() {
            let path = write(&folder.join(name), &library.bytes)?;
            return Ok(PrivateCopy { path: path.to_path_buf(), place: Place::Files(vec![path]) });
        }
        let cannot = |why: String| io::Error::other(why);
        let folder = folder.join(self.made.to_string());
        let names = Names::new(&library.beside).map_err(cannot)?;
        let renamed = |bytes| names.replaced_in(bytes).map_err(cannot);
        fs::create_dir(&folder)?;
        let mut files = vec![write(&folder.join(name), &renamed(&library.bytes)?)?];
        for beside in &library.beside {
            let folder = folder.join(&beside.folder);
            fs::create_dir_all(&folder)?;
            files.push(write(&folder.join(names.of(beside)), &renamed(&beside.bytes)?)?);
        }
        Ok(PrivateCopy { path: files[0].to_path_buf(), place: Place::Files(files) })
    }

    /// Returns this process's folder below another folder, and makes it if it is not there.
    fn folder(&mut self, within: &Path) -> io::Result<&CopyFolder> {
        if let Some(at) = self.folders.iter().position(|(parent, _)| parent == within) {
            let found = self.folders.remove(at);
            match found.1.is_ours() {
                true => self.folders.push(found),
                false => found.1.abandon(),
            }
        }
        if self.folders.last().is_none_or(|(parent, _)| parent != within) {
            self.folders.push((within.to_owned(), CopyFolder::new(within)?));
        }
        Ok(&self.folders.last().expect("it was pushed").1)
    }

    /// Writes a copy to memory if the error says that the folder cannot be used. A full folder can: an operator frees
    /// space.
    fn write_to_memory(
        &mut self,
        within: &Path,
        library: &VerifiedLibrary,
        error: io::Error,
    ) -> io::Result<PrivateCopy> {
        use io::ErrorKind::{NotADirectory, NotFound, PermissionDenied, ReadOnlyFilesystem, Unsupported};
        let is_unusable = matches!(
            error.kind(),
            NotADirectory | NotFound | PermissionDenied | ReadOnlyFilesystem | Unsupported
        );
        // Libraries beside the plugin need a folder.
        if !is_unusable || !library.beside.is_empty() {
            return Err(error);
        }
        let Ok((path, file)) = memory_copy::write(&library.manifest.name, &library.bytes) else {
            return Err(error);
        };
        let why = format!("{}: {}", shown(within), why(&error));
        if self.told.as_ref() != Some(&why) {
            tracing::warn!(
                "private copies of libraries are held in memory, because the folder for them cannot be used ({why}); set \
                 `copy_dir` in `[plugins]`, or else TMPDIR, to a writable folder that is not mounted noexec"
            );
            self.told = Some(why);
        }
        Ok(PrivateCopy { path, place: Place::Memory(file) })
    }
}

/// Returns the reason of an error. The text of most kinds has the folder's random name: the same reason would read
/// differently each time.
fn why(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::Unsupported | io::ErrorKind::Other => error.to_string(),
        kind => kind.to_string(),
    }
}

/// Writes a new file that only this user may use. A part of a file would fill the folder for good, so it is removed.
fn write(path: &Path, bytes: &[u8]) -> io::Result<TempPath> {
    let mut options = File::options();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(path)?;
    let path = TempPath::try_from_path(path)?;
    file.write_all(bytes)?;
    Ok(path)
}

#[cfg(test)]
mod tests {
    use llmux_testing::Capture;

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
            beside: Vec::new(),
        }
    }

    #[test]
    fn d2_equal_bytes_are_copied_to_a_path_that_was_never_used() {
        let mut copies = Copies::default();
        let first = copies.write(&library(), None).expect("written");
        let path = first.path().to_owned();
        drop(first);
        assert!(!path.exists(), "a copy that is not kept is removed");
        let second = copies.write(&library(), None).expect("written");
        assert_ne!(second.path(), path);
        let path = second.path().to_owned();
        second.keep();
        assert!(path.exists(), "a copy that is kept stays");
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn copies_in_memory_are_logged_once_for_each_reason() {
        let logs = Capture::llmux();
        let folder = tempfile::tempdir().expect("a folder");
        let (nowhere, file) = (folder.path().join("nowhere"), folder.path().join("file"));
        fs::write(&file, "").expect("written");
        let mut copies = Copies::default();
        let mut write = |within: &Path| {
            drop(copies.write(&library(), Some(within)).expect("written"));
            logs.with(&["WARN", "held in memory"]).len()
        };
        assert_eq!([write(&nowhere), write(&nowhere), write(&file), write(&file)], [1, 1, 2, 2]);
        assert_eq!([write(folder.path()), write(&file)], [2, 3], "the folder could be used in between");
    }

    #[cfg(unix)]
    #[test]
    fn the_folder_of_copies_is_its_users_alone() {
        use std::os::unix::fs::PermissionsExt;
        let mut copies = Copies::default();
        let copy = copies.write(&library(), None).expect("written");
        let copy = copy.path();
        let mode = |path: &Path| fs::metadata(path).expect("there").permissions().mode() & 0o777;
        assert_eq!((mode(copy.parent().expect("a folder")), mode(copy)), (0o700, 0o600));
    }

    #[test]
    fn copies_go_to_the_folder_that_is_named_also_after_another_was() {
        let (one, two) = (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"));
        let mut copies = Copies::default();
        let mut folders = Vec::new();
        for within in [one.path(), two.path(), one.path()] {
            let copy = copies.write(&library(), Some(within)).expect("written");
            assert!(copy.path().starts_with(within), "{}", copy.path().display());
            folders.push(copy.path().parent().expect("a folder").to_owned());
        }
        assert_eq!(folders[0], folders[2], "the folder of before");
    }

    #[cfg(unix)]
    #[test]
    fn d2_a_folder_that_was_cleaned_away_is_made_anew_and_one_in_its_place_is_left_alone() {
        use std::os::unix::fs::{PermissionsExt, symlink};
        let mut copies = Copies::default();
        let lose = |copies: &mut Copies| {
            let copy = copies.write(&library(), None).expect("written, whatever became of the folder before");
            let folder = copy.path().parent().expect("a folder").to_owned();
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
}
