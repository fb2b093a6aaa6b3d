//! `llmux plugin-host`: the child process of an isolated plugin (rules I1 to I7). A server starts it; nobody else needs it.

use llmux_terminal::Result;

/// Runs the child to its end, and ends the process.
#[cfg(target_os = "linux")]
pub(crate) fn run() -> Result<()> {
    llmux_core::isolation::run_child()
        .map_err(|error| llmux_terminal::CliError::new(format!("the child process of a plugin: {error}")))?;
    // Without `atexit` handlers: one of the plugin's may never return.
    signal_hook::low_level::exit(0)
}

/// Refuses.
#[cfg(not(target_os = "linux"))]
pub(crate) fn run() -> Result<()> {
    Err(llmux_terminal::CliError::new("plugins run in child processes only on Linux"))
}
