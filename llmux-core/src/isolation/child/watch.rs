//! The watcher of a child that may start programs: it ends them if the host dies (rule I2).
//!
//! `host::spawner` starts it in the process group of the child, which neither the child nor its programs can leave. Deliberately
//! absent: the usual end of the group, which the host kills itself.

use std::io;

use rustix::process::{Signal, getpgrp, kill_process_group};

/// Environment variable that makes the program of the child a watcher.
pub(in crate::isolation) const WATCHES: &str = "LLMUX_WATCHES_PROGRAMS";

/// Waits until the host is over, and kills the process group of this process.
pub(super) fn run() -> io::Result<()> {
    // The host holds the other end of the standard input, and writes nothing.
    io::copy(&mut io::stdin(), &mut io::sink())?;
    Ok(kill_process_group(getpgrp(), Signal::KILL)?)
}
