//! Commands: the command line, and one file for each command.
//!
//! `main` parses the command line and calls [`run`]. Commands use everything below them. Nothing uses a command.

mod admin_client;
mod chat;
mod child_args;
pub(crate) mod cli;
mod instance_args;
mod plugin;
mod plugin_files;
pub(crate) mod plugin_host;
mod plugin_path;
mod provider;
mod reload;
mod serve;
pub(crate) mod trial_load;

use clap::CommandFactory;
use llmux_terminal::Result;

use self::cli::{Cli, Command};

/// Runs a command to its end.
pub(crate) async fn run(command: Command) -> Result<()> {
    match command {
        Command::Serve(options) => serve::run(options).await,
        Command::Chat(options) => chat::run(options).await,
        Command::Plugin(options) => plugin::run(options).await,
        Command::Provider(options) => provider::run(options).await,
        Command::Reload(options) => reload::run(options).await,
        Command::TrialLoad { .. } | Command::PluginHost => {
            unreachable!("`main` runs it before it starts threads")
        }
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "llmux", &mut script);
            llmux_terminal::print(&String::from_utf8_lossy(&script))
        }
    }
}
