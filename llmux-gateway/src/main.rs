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

mod admin;
mod commands;
mod config;
mod http;
mod terminal;

use std::process::ExitCode;

use clap::Parser;
use llmux_terminal::{CliError, Result};

use self::commands::cli::{Cli, Command};

fn main() -> ExitCode {
    // Usage errors end here, with exit code 2.
    match run(Cli::parse().command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("llmux: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| CliError::new(format!("cannot start the runtime: {error}")))?;
    let result = runtime.block_on(commands::run(command));
    // A plugin's blocking code may never return; the process does.
    runtime.shutdown_background();
    result
}
