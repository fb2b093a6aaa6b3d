//! The program `llmux`: an OpenAI-compatible server with plugins, and their command line.
//!
//! ```text
//! cli ──► serve ──► setup (configuration ──► client) ──► server (connections) ──► api    (/v1/…)
//!    │                 ├─► watch  (plugin folders)                            └─► admin  (/admin/…)
//!    │                 ├─► reload (SIGHUP, /admin/reload) ──► difference
//!    │                 └─► pulse  (events, while a plugin holds a thread)
//!    ├──► chat          one request through the same pipeline
//!    └──► plugin_cmd ──► plugin_files (no server)  ·  admin_client (a running one)
//!             └────────► plugin_try, plugin_bench ──► rehearsal (a library in a pipeline, no server)
//! ```
//!
//! Everything that requests go through is `llmux-core`'s; only this crate knows HTTP serving, the configuration
//! file and the terminal.

mod admin;
mod admin_client;
mod admin_plugins;
mod api;
mod auth;
#[cfg(test)]
#[allow(unreachable_pub, reason = "the whole-system tests' too")]
#[path = "../../tests/src/blocks.rs"]
mod blocks;
mod body;
mod chat;
mod cli;
mod config;
mod difference;
mod local_token;
mod logging;
mod output;
mod plugin_bench;
mod plugin_cmd;
mod plugin_error;
mod plugin_files;
mod plugin_try;
mod problem;
mod pulse;
mod rehearsal;
mod reload;
mod reply;
mod serve;
mod server;
mod setup;
mod sse;
mod watch;

use std::process::ExitCode;

use clap::{CommandFactory, Parser};

use self::{
    cli::{Cli, Command},
    problem::{Problem, Result},
};

fn main() -> ExitCode {
    // Usage errors end here, with exit code 2.
    match run(Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => {
            eprintln!("llmux: {problem}");
            ExitCode::FAILURE
        }
    }
}

fn run(cli: Cli) -> Result<()> {
    if let Command::Completions { shell } = cli.command {
        let mut script = Vec::new();
        clap_complete::generate(shell, &mut Cli::command(), "llmux", &mut script);
        return output::print(&String::from_utf8_lossy(&script));
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| Problem::new(format!("cannot start the runtime: {error}")))?;
    let result = runtime.block_on(async {
        match cli.command {
            Command::Serve(options) => serve::run(options).await,
            Command::Chat(options) => chat::run(options).await,
            Command::Plugin(options) => plugin_cmd::run(options).await,
            Command::Reload(options) => reload::ask(options).await,
            Command::Completions { .. } => Ok(()),
        }
    });
    // A plugin's blocking code may never return; the process does.
    runtime.shutdown_background();
    result
}
