//! Private copies in memory, for hosts without a folder that is writable and permits execution: an anonymous file of Linux
//! (`memfd_create`), which the system's loader opens by the path of its descriptor.
//!
//! `private_copy` calls it. Deliberately absent: libraries beside the plugin, which such a path has no folder for.

use std::{fs::File, io, path::PathBuf};

/// Writes a copy. It exists for as long as its descriptor is open.
#[cfg(target_os = "linux")]
pub(super) fn write(name: &str, bytes: &[u8]) -> io::Result<(PathBuf, File)> {
    use std::{io::Write, os::fd::AsRawFd};

    use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, memfd_create};
    let mut file = File::from(memfd_create(name, MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?);
    file.write_all(bytes)?;
    fcntl_add_seals(&file, SealFlags::WRITE | SealFlags::GROW | SealFlags::SHRINK | SealFlags::SEAL)?;
    // With the id of this process, so that the child process of a trial finds it, too.
    let path = format!("/proc/{}/fd/{}", std::process::id(), file.as_raw_fd());
    match std::fs::exists(&path) {
        Ok(true) => Ok((path.into(), file)),
        // Without `/proc`, the loader could not open it.
        _ => Err(io::ErrorKind::NotFound.into()),
    }
}

#[cfg(not(target_os = "linux"))]
pub(super) fn write(_: &str, _: &[u8]) -> io::Result<(PathBuf, File)> {
    Err(io::ErrorKind::Unsupported.into())
}
