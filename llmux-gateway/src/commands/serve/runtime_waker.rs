//! Runtime waker: wakes a worker of the runtime regularly, so that sockets are served while a plugin blocks a worker.
//!
//! `serve` starts it. One worker of the runtime polls the sockets and then runs the tasks that they wake. If such a task is
//! a hook that blocks, and no other task was woken with it, the other workers keep sleeping and no worker polls the sockets:
//! the whole server waits for the hook. A task that is spawned from outside of the runtime wakes another worker, which then
//! polls the sockets. This needs one free worker; if plugins block all of them, the server waits.

use std::{thread, time::Duration};

use llmux_terminal::{CliError, Result};
use tokio::runtime::Handle;

/// Delay between two wake-ups, and so the longest time that a blocking hook delays other requests. The cost of ten wake-ups
/// a second is not measurable.
const EVERY: Duration = Duration::from_millis(100);

/// Starts the thread of the waker, which ends with the process.
///
/// # Errors
///
/// If the system starts no thread.
pub(crate) fn start(runtime: Handle) -> Result<()> {
    let wake = move || {
        loop {
            thread::sleep(EVERY);
            // A runtime that has ended drops the task.
            drop(runtime.spawn(async {}));
        }
    };
    let started = thread::Builder::new().name("llmux-waker".to_owned()).spawn(wake);
    started.map(drop).map_err(|error| CliError::new(format!("cannot start a thread: {error}")))
}
