//! State of the process that a plugin can change for everybody: the actions of signals, and the working directory.
//!
//! `plugins` reads it before and after code of a plugin runs while it is loaded, and logs each change with the plugin's
//! name. Deliberately absent: any attempt to restore the state, which a handler may chain to.
//!
//! # Soundness
//!
//! `sigaction` without a new action only reads: it writes the current action to a live value.

use std::{env, path::PathBuf};

/// Signals whose actions are compared.
#[cfg(unix)]
const SIGNALS: [(libc::c_int, &str); 14] = [
    (libc::SIGHUP, "SIGHUP"),
    (libc::SIGINT, "SIGINT"),
    (libc::SIGQUIT, "SIGQUIT"),
    (libc::SIGTERM, "SIGTERM"),
    (libc::SIGPIPE, "SIGPIPE"),
    (libc::SIGCHLD, "SIGCHLD"),
    (libc::SIGUSR1, "SIGUSR1"),
    (libc::SIGUSR2, "SIGUSR2"),
    (libc::SIGALRM, "SIGALRM"),
    (libc::SIGABRT, "SIGABRT"),
    (libc::SIGBUS, "SIGBUS"),
    (libc::SIGFPE, "SIGFPE"),
    (libc::SIGILL, "SIGILL"),
    (libc::SIGSEGV, "SIGSEGV"),
];

/// Returns the name of a signal that ends a process, in brackets after a blank; empty for an unusual one.
#[cfg(unix)]
pub(crate) fn signal_name(signal: i32) -> &'static str {
    match signal {
        libc::SIGABRT => " (SIGABRT)",
        libc::SIGBUS => " (SIGBUS)",
        libc::SIGFPE => " (SIGFPE)",
        libc::SIGILL => " (SIGILL)",
        libc::SIGKILL => " (SIGKILL)",
        libc::SIGSEGV => " (SIGSEGV)",
        libc::SIGSYS => " (SIGSYS)",
        _ => "",
    }
}

/// State of the process at one time.
#[derive(PartialEq, Eq)]
pub(crate) struct ProcessState {
    folder: Option<PathBuf>,
    /// Name and handler of each signal.
    handlers: Vec<(&'static str, usize)>,
}

impl ProcessState {
    pub(crate) fn read() -> Self {
        Self { folder: env::current_dir().ok(), handlers: handlers() }
    }

    /// Logs the changes since this state was read.
    pub(crate) fn log_changes(self, plugin: &str) {
        let now = Self::read();
        let changed = self.handlers.iter().zip(&now.handlers).filter(|(before, now)| before != now);
        let signals: Vec<_> = changed.map(|((name, _), _)| *name).collect();
        if !signals.is_empty() {
            tracing::warn!(
                plugin,
                signals = signals.join(", "),
                "the plugin changed the action of signals of the process while it was loaded; unless its handler calls the \
                 one of before, the host no longer handles these signals. `tokio::signal` and `signal-hook` do call it"
            );
        }
        if self.folder != now.folder {
            tracing::warn!(
                plugin,
                before = ?self.folder.unwrap_or_default(),
                now = ?now.folder.unwrap_or_default(),
                "the plugin changed the working directory of the process while it was loaded; relative paths of other plugins \
                 lead elsewhere now. Use absolute paths in the plugin instead"
            );
        }
    }
}

#[cfg(unix)]
fn handlers() -> Vec<(&'static str, usize)> {
    let handler = |signal| {
        // SAFETY: see the head. A zeroed `sigaction` is valid.
        unsafe {
            let mut action: libc::sigaction = std::mem::zeroed();
            libc::sigaction(signal, std::ptr::null(), &raw mut action);
            action.sa_sigaction
        }
    };
    SIGNALS.iter().map(|(signal, name)| (*name, handler(*signal))).collect()
}

#[cfg(not(unix))]
fn handlers() -> Vec<(&'static str, usize)> {
    Vec::new()
}
