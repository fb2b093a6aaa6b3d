//! The program `llmux`: an OpenAI-compatible server with plugins, and their command line.
//!
//! ```text
//! commands   the command line; serve, chat, plugin, reload
//!    admin      /admin/…: plugins, tokens, the reload of the configuration
//!       http       /v1/…: connections, bodies, replies, events, client keys
//!          config     llmux.toml: types, the client made of it, differences, plugin folders
//!             terminal   the log
//! ```
//!
//! Each folder uses only those below it. Everything that requests go through is `llmux-core`'s; only this crate knows
//! HTTP serving, the configuration file and the terminal.

#![warn(clippy::print_stderr, clippy::print_stdout)]

mod admin;
mod commands;
mod config;
mod http;
mod terminal;

use std::process::ExitCode;

use clap::Parser;
use llmux_terminal::{CliError, Result};

use self::{
    commands::{
        cli::{Cli, Command},
        plugin_host, trial_load,
    },
    terminal::outside,
};

/// The memory of the program. Plugins have the system's allocator, and each side frees its own memory.
#[cfg(unix)]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    let result = match Cli::try_parse() {
        Ok(cli) => run(cli.command),
        // Usage errors end here, with exit code 2.
        Err(error) if error.use_stderr() => error.exit(),
        Err(asked) => print_help(&asked),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            llmux_terminal::print_error(&outside::line("ERROR", &format!("llmux: {error}")));
            ExitCode::FAILURE
        }
    }
}

/// Prints the help or the version that was asked for. clap would ignore an output that cannot be written to.
fn print_help(asked: &clap::Error) -> Result<()> {
    let text = asked.render();
    llmux_terminal::print(&match llmux_terminal::colors(&std::io::stdout()) {
        true => text.ansi().to_string(),
        false => text.to_string(),
    })
}
/// Smallest number of workers, so that a plugin that blocks one stops nothing, on one processor, too.
const MIN_WORKERS: usize = 4;

fn run(command: Command) -> Result<()> {
    // Both run before the first other thread, which a sandbox would not restrict.
    match &command {
        Command::TrialLoad { copy } => trial_load::run(copy),
        Command::PluginHost => return plugin_host::run(),
        _ => {}
    }
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    // The runtime reads the variable itself.
    if std::env::var_os("TOKIO_WORKER_THREADS").is_none() {
        let processors = std::thread::available_parallelism().map_or(1, |count| count.get());
        builder.worker_threads(processors.max(MIN_WORKERS));
    }
    let runtime = builder
        .enable_all()
        .build()
        .map_err(|error| CliError::new(format!("cannot start the runtime: {error}")))?;
    let result = runtime.block_on(commands::run(command));
    // A plugin's blocking code may never return; the process does.
    runtime.shutdown_background();
    result
}
