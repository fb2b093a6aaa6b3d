//! Keeps the runtime's events coming while a plugin holds a thread of it.
//!
//! `serve` starts it. One worker of the runtime waits for the sockets, and goes on to run what they wake; if that is a
//! hook that blocks, and nothing else was woken with it, the others sleep on and nobody looks at the sockets: the
//! whole server stands for as long as the hook does. A task from outside of the runtime wakes one of them, which then
//! takes the sockets over. It helps while one worker is free; where plugins hold them all, nothing does.

use std::{thread, time::Duration};

use llmux_terminal::{CliError, Result};
use tokio::runtime::Handle;

/// How long a blocking hook may keep all others waiting. Ten wake-ups a second cost nothing that could be measured.
const EVERY: Duration = Duration::from_millis(100);

/// Starts the thread, which ends with the process.
pub(crate) fn start(runtime: Handle) -> Result<()> {
    let beat = move || {
        loop {
            thread::sleep(EVERY);
            // Its result is of no interest, and a runtime that has ended drops it.
            drop(runtime.spawn(async {}));
        }
    };
    let started = thread::Builder::new().name("llmux-pulse".to_owned()).spawn(beat);
    started.map(drop).map_err(|error| CliError::new(format!("cannot start a thread: {error}")))
}
