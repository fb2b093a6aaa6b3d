//! Reads files of libraries and signatures: regular files only, bounded in size, with the checks of symlinks and
//! permissions.
//!
//! `verify` and `signature` call it. Deliberately absent: anything about the content.

use std::{
    fs::File,
    io::Read,
    path::{Path, PathBuf},
};

use super::error::LibraryError;

/// Refuses a path in a plugin folder that a symlink (of the file, or of a folder above it) leads out of all plugin
/// folders. A file outside the plugin folders, which the operator names, is not checked.
fn check_link(path: &Path, folders: &[PathBuf]) -> Result<(), LibraryError> {
    let real: Vec<PathBuf> = folders.iter().filter_map(|folder| folder.canonicalize().ok()).collect();
    let is_below = |path: &Path, folders: &[PathBuf]| folders.iter().any(|folder| path.starts_with(folder));
    let named = std::path::absolute(path).map_err(LibraryError::Read)?;
    let parent = named.parent().and_then(|parent| parent.canonicalize().ok());
    let absolute: Vec<PathBuf> =
        folders.iter().filter_map(|folder| std::path::absolute(folder).ok()).collect();
    let is_in_folder = is_below(&named, &absolute) || parent.is_some_and(|parent| is_below(&parent, &real));
    if !is_in_folder {
        return Ok(());
    }
    let target = path.canonicalize().map_err(LibraryError::Read)?;
    match is_below(&target, &real) {
        true => Ok(()),
        false => Err(LibraryError::LeavesFolder { target }),
    }
}

/// Returns the bytes of a library's file, after the checks of links, permissions and size.
pub(super) fn read_checked(
    path: &Path,
    folders: &[PathBuf],
    allow_insecure_permissions: bool,
    max: u64,
) -> Result<Vec<u8>, LibraryError> {
    check_link(path, folders)?;
    let (file, metadata) = open_regular(path)?;
    if !allow_insecure_permissions {
        check_permissions(path, &metadata)?;
    }
    read_open(file, metadata.len(), max)
}

/// Returns the bytes of a regular file, whatever its permissions.
pub(super) fn read_file(path: &Path, max: u64) -> Result<Vec<u8>, LibraryError> {
    let (file, metadata) = open_regular(path)?;
    read_open(file, metadata.len(), max)
}

fn open_regular(path: &Path) -> Result<(File, std::fs::Metadata), LibraryError> {
    let file = open(path).map_err(LibraryError::Read)?;
    let metadata = file.metadata().map_err(LibraryError::Read)?;
    match metadata.is_file() {
        true => Ok((file, metadata)),
        false => Err(LibraryError::NotAFile),
    }
}

fn read_open(file: File, size: u64, max: u64) -> Result<Vec<u8>, LibraryError> {
    if size > max {
        return Err(LibraryError::TooLarge { size, max });
    }
    let mut bytes = Vec::with_capacity(size as usize);
    // The file may grow while it is read.
    file.take(max + 1).read_to_end(&mut bytes).map_err(LibraryError::Read)?;
    if bytes.len() as u64 > max {
        return Err(LibraryError::TooLarge { size: bytes.len() as u64, max });
    }
    Ok(bytes)
}

#[cfg(unix)]
fn open(path: &Path) -> std::io::Result<File> {
    use std::os::unix::fs::OpenOptionsExt;
    // Without this flag, opening a pipe that has no writer blocks.
    File::options().read(true).custom_flags(libc::O_NONBLOCK).open(path)
}

#[cfg(not(unix))]
fn open(path: &Path) -> std::io::Result<File> {
    File::open(path)
}

/// Refuses a file that everyone may write, or that belongs to a user other than root and the process's own. A group
/// with write access is trusted: the owner chose that group.
#[cfg(unix)]
fn check_permissions(path: &Path, file: &std::fs::Metadata) -> Result<(), LibraryError> {
    use std::os::unix::fs::MetadataExt;
    let user = rustix::process::geteuid().as_raw();
    let check = |what: &str, metadata: &std::fs::Metadata| {
        if metadata.mode() & 0o002 != 0 {
            return Err(LibraryError::Permissions(format!(
                "{what} is writable by everyone; make it writable by its owner alone"
            )));
        }
        if metadata.uid() != 0 && metadata.uid() != user {
            return Err(LibraryError::Permissions(format!(
                "{what} belongs to another user ({}); make root or this user ({user}) its owner (`chown`)",
                metadata.uid()
            )));
        }
        Ok(())
    };
    check("the file", file)?;
    // A user who may write the folder can exchange the file; for a symlink, the folder of its target counts too.
    let target = path.canonicalize().map_err(LibraryError::Read)?;
    for path in [path, &target] {
        let folder = match path.parent() {
            Some(folder) if !folder.as_os_str().is_empty() => folder,
            _ => Path::new("."),
        };
        check("its folder", &std::fs::metadata(folder).map_err(LibraryError::Read)?)?;
    }
    Ok(())
}

#[cfg(not(unix))]
fn check_permissions(_: &Path, _: &std::fs::Metadata) -> Result<(), LibraryError> {
    // On Windows, access lists decide; the operator sets them for the folder.
    Ok(())
}
