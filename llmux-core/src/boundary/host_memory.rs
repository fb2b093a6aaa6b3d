//! The memory that the host of a child process writes and the child reads: large bodies, which are then not copied into the
//! child.
//!
//! `isolation::host::bodies` writes bodies into it, and decides where. `isolation::child` maps it once, before the sandbox,
//! and `isolation::rebuild` takes bodies out of it.
//!
//! # Soundness
//!
//! A mapping stays for as long as its file is needed: in the host until the memory is dropped, in the child for as long as
//! the process lives. The file is sealed against resizing before it is mapped, so that no access is beyond its end.
//!
//! The host only writes, through a pointer, and never makes a reference to the memory: a child that writes into it harms
//! only itself. It writes a part before it sends a call that names the part, and writes it again only after the child has
//! replied to every call that names it. A child drops a body with its call, and reads nothing of it afterwards; it trusts
//! its host, which is the same program. It maps the memory for reading.

use std::{
    fs::File,
    io,
    os::fd::AsRawFd,
    ptr, slice,
    sync::{Mutex, OnceLock, PoisonError},
};

use bytes::Bytes;
use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, memfd_create};

/// The start and the length of a mapping.
struct Mapping(*mut u8, usize);

// SAFETY: the memory is shared with another process anyway; each function says how it is accessed.
unsafe impl Send for Mapping {}
// SAFETY: as for `Send`.
unsafe impl Sync for Mapping {}

impl Mapping {
    fn new(file: &File, length: usize, access: i32) -> io::Result<Self> {
        // SAFETY: a new mapping, at an address that the system chooses.
        let start =
            unsafe { libc::mmap(ptr::null_mut(), length, access, libc::MAP_SHARED, file.as_raw_fd(), 0) };
        if start == libc::MAP_FAILED {
            Err(io::Error::last_os_error())
        } else {
            Ok(Self(start.cast(), length))
        }
    }

    /// Returns the place of a part; `None` if it is not inside.
    fn part(&self, start: usize, length: usize) -> Option<*mut u8> {
        // SAFETY: it is inside the mapping.
        (start.checked_add(length)? <= self.1).then(|| unsafe { self.0.add(start) })
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: nothing refers to the mapping: the host makes no references, and the child never drops its own.
        unsafe { libc::munmap(self.0.cast(), self.1) };
    }
}

/// The memory of a child, in its host.
pub(crate) struct HostMemory {
    pub(crate) file: File,
    mapping: Mutex<Mapping>,
}

impl HostMemory {
    /// Makes a memory of this size, which nobody can resize.
    ///
    /// # Errors
    ///
    /// If the system has no such files, or no room.
    pub(crate) fn new(size: usize) -> io::Result<Self> {
        let file = File::from(memfd_create("llmux-bodies", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?);
        file.set_len(size as u64)?;
        fcntl_add_seals(&file, SealFlags::GROW | SealFlags::SHRINK | SealFlags::SEAL)?;
        let mapping = Mutex::new(Mapping::new(&file, size, libc::PROT_READ | libc::PROT_WRITE)?);
        Ok(Self { file, mapping })
    }

    /// Writes bytes at a place. Returns false if they do not fit.
    pub(crate) fn write(&self, start: usize, bytes: &[u8]) -> bool {
        let mapping = self.mapping.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(part) = mapping.part(start, bytes.len()) else { return false };
        // SAFETY: the part is inside the mapping, only this function accesses it in this process, one call at a time, and
        // the bytes are not there: no reference to the memory exists.
        unsafe { ptr::copy_nonoverlapping(bytes.as_ptr(), part, bytes.len()) };
        true
    }
}

/// The memory of this process's host.
static OF_HOST: OnceLock<Mapping> = OnceLock::new();

/// Maps the memory of the host, once for each process.
///
/// # Errors
///
/// If it cannot be mapped.
pub(crate) fn map(file: &File) -> io::Result<()> {
    let length = usize::try_from(file.metadata()?.len()).map_err(io::Error::other)?;
    let _ = OF_HOST.set(Mapping::new(file, length, libc::PROT_READ)?);
    Ok(())
}

/// Returns a part of the host's memory that a call names; `None` if there is none.
pub(crate) fn part(start: usize, length: usize) -> Option<Bytes> {
    let part = OF_HOST.get()?.part(start, length)?;
    // SAFETY: the part is inside the mapping, which is never unmapped; the host does not write it until the call has ended
    // (see the head of this file).
    Some(Bytes::from_static(unsafe { slice::from_raw_parts(part, length) }))
}
