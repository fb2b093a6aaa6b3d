//! Commands: the command line, and one file for each thing it can be asked to do.
//!
//! `main` parses the command line and calls [`run`]. Commands use everything below them; nothing uses a command.

mod admin_client;
mod authors;
mod chat;
pub(crate) mod cli;
mod plugin;
mod plugin_bench;
mod plugin_files;
mod plugin_try;
mod rehearsal;
mod reload;
mod serve;

use clap::CommandFactory;

use self::cli::{Cli, Command};
use crate::terminal::{cli_error::Result, output};

/// Runs a command to its end.
pub(crate) async fn run(command: Command) -> Result<()> {
    match command {
        Command::Serve(options) => serve::run(options).await,
        Command::Chat(options) => chat::run(options).await,
        Command::Plugin(options) => plugin::run(options).await,
        Command::Reload(options) => reload::run(options).await,
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "llmux", &mut script);
            output::print(&String::from_utf8_lossy(&script))
        }
    }
}
