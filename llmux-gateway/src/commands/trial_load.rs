//! `llmux trial-load COPY`: the child process of a trial load (rule I8). A server starts it, and `main` calls it before it
//! starts a thread.

use std::path::Path;

/// Runs the command, and ends the process.
pub(crate) fn run(copy: &Path) -> ! {
    llmux_core::plugins::trial_load(copy);
    // Without `atexit` handlers: they are no part of the trial, and one of them may never return.
    #[cfg(unix)]
    signal_hook::low_level::exit(0);
    #[cfg(not(unix))]
    std::process::exit(0)
}
