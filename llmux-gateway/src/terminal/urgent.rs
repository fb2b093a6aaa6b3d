//! Lines that are on standard error before the program goes on: the reasons for an end that may follow at once.
//!
//! `logging` writes errors this way, and the thread of the signals its last line. A full pipe delays nobody: the line is
//! then not written.

/// Largest piece that a pipe takes as a whole (`PIPE_BUF` of Linux; other systems take at least 512).
pub(super) const MAX: usize = if cfg!(target_os = "linux") { 4096 } else { 512 };

/// Writes a line at once. Returns false if it is too long, or if standard error does not take it now.
#[cfg(unix)]
pub(crate) fn write(line: &[u8]) -> bool {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    if line.len() > MAX {
        return false;
    }
    // Not through `std`, whose lock the thread of the log holds while it writes.
    let stderr = rustix::stdio::stderr();
    let now = Timespec { tv_sec: 0, tv_nsec: 0 };
    let mut fds = [PollFd::new(&stderr, PollFlags::OUT)];
    let is_ready =
        poll(&mut fds, Some(&now)).is_ok_and(|count| count == 1) && fds[0].revents().contains(PollFlags::OUT);
    is_ready && rustix::io::write(stderr, line).is_ok_and(|written| written == line.len())
}

/// Writes nothing on this system.
#[cfg(not(unix))]
pub(crate) fn write(_: &[u8]) -> bool {
    false
}
