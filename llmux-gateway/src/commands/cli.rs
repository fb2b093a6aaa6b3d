//! The command line: every command and flag, and their help.
//!
//! `main` parses it. Deliberately absent: the actions, which are in the file of each command.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use clap_complete::Shell;
use llmux_devtools::{BenchArgs, NewArgs, TryArgs};
use llmux_terminal::json_object;
use serde_json::Value;

use super::{
    child_args::ChildArgs,
    instance_args::{Force, IsolationArg, OnErrorArg, SettingArg},
};
use crate::terminal::logging::LogFormat;

/// Longest wait for a server, in seconds: more than the time limits of a load, or of an unload, together.
const DEFAULT_TIMEOUT: u64 = 60;

/// A server for language models with a pipeline of plugins around every call.
#[derive(Parser)]
#[command(name = "llmux", version, propagate_version = true, arg_required_else_help = true)]
#[command(after_help = "Examples:
  llmux serve                                   serve the offline `echo` provider on 127.0.0.1:8080
  llmux serve --config llmux.toml               serve with this configuration
  llmux chat 'Say hello'                        one request, no server
  llmux plugin new mine                         create the crate of a plugin
  llmux plugin inspect ./libmine.so             show a library's manifest; none of its code runs
  llmux plugin try ./libmine.so                 run a library on sample requests, no server
  llmux plugin load ./libmine.so                load a library into the running server")]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Subcommand)]
pub(crate) enum Command {
    Serve(Serve),
    Chat(Chat),
    Plugin(Plugin),
    Provider(Provider),
    Reload(Reload),
    /// Load a library on trial, as a child process of a server (not for people)
    #[command(hide = true)]
    TrialLoad {
        /// The private copy
        copy: PathBuf,
    },
    /// Run an isolated plugin, as a child process of a server (not for people)
    #[command(hide = true)]
    PluginHost,
    /// Write a completion script for a shell
    #[command(after_help = "Examples:
  llmux completions bash > ~/.local/share/bash-completion/completions/llmux
  llmux completions zsh > ~/.zfunc/_llmux
  llmux completions fish > ~/.config/fish/completions/llmux.fish")]
    Completions {
        /// The shell
        shell: Shell,
    },
}

/// Serve the OpenAI API, and the admin API on a listener of its own
#[derive(Args)]
#[command(after_help = "Examples:
  llmux serve
  llmux serve --plugin-dir target/release
  llmux serve --config /etc/llmux/llmux.toml --log-format json
  llmux serve --listen 127.0.0.1:9080 --admin-listen off

Without --config, ./llmux.toml is used if it exists. Without a file, the `echo` provider answers offline. A file needs a
provider. An address that other machines reach needs an API key, or `open = true` in the file.
SIGTERM and SIGINT drain and clean up; a second signal ends the process at once. SIGHUP reloads the configuration.
SIGUSR1 and SIGUSR2 are ignored.")]
pub(crate) struct Serve {
    /// The configuration file
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// A folder of plugins, watched; each library found in it gets an instance (repeatable)
    #[arg(long = "plugin-dir", value_name = "DIR")]
    pub(crate) plugin_dirs: Vec<PathBuf>,
    /// Address of the OpenAI API [default: 127.0.0.1:8080]
    #[arg(long, value_name = "ADDR")]
    pub(crate) listen: Option<String>,
    /// Address of the admin API, or `off` [default: 127.0.0.1:8081]
    #[arg(long, value_name = "ADDR")]
    pub(crate) admin_listen: Option<String>,
    /// Format of log lines [default: text]
    #[arg(long, value_enum)]
    pub(crate) log_format: Option<LogFormat>,
}

/// Send one chat request through the pipeline, without a server
#[derive(Args)]
#[command(after_help = "Examples:
  llmux chat 'Say hello'
  llmux chat --model gpt-4o --stream --system 'Be brief.' 'Why is the sky blue?'
  llmux chat --model echo-request --plugin './libsystem_prompt.so={\"prompt\":\"Be brief.\"}' 'Hello'")]
pub(crate) struct Chat {
    /// The model [default: the first that the configuration serves; without one, `echo`]
    #[arg(long)]
    pub(crate) model: Option<String>,
    /// Print the answer while it arrives
    #[arg(long)]
    pub(crate) stream: bool,
    /// A system message
    #[arg(long, value_name = "TEXT")]
    pub(crate) system: Option<String>,
    /// The configuration file [default: ./llmux.toml, if it exists]
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// A library to load into the pipeline, with its configuration in JSON (repeatable)
    #[arg(long = "plugin", value_name = "FILE[=JSON]", value_parser = library_and_config)]
    pub(crate) plugins: Vec<(PathBuf, Value)>,
    /// The user message
    pub(crate) text: String,
}

/// Make a running server read its configuration file again
#[derive(Args)]
#[command(after_help = "Examples:
  llmux reload
  llmux reload --admin http://127.0.0.1:9081
  llmux reload --force

The differences are applied as one change, or not at all. SIGHUP does the same without --force, and logs the result.")]
pub(crate) struct Reload {
    /// The admin API of the server
    #[arg(long, env = "LLMUX_ADMIN", value_name = "URL")]
    #[arg(default_value = "http://127.0.0.1:8081")]
    pub(crate) admin: String,
    /// A file that holds the admin token
    #[arg(long, value_name = "FILE")]
    pub(crate) token_file: Option<PathBuf>,
    /// Apply the file even if it removes the last API key, or weakens an instance that fails closed
    #[arg(long)]
    pub(crate) force: bool,
    /// Seconds to wait for the answer
    #[arg(long, value_name = "SECONDS", default_value_t = DEFAULT_TIMEOUT)]
    pub(crate) admin_timeout: u64,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

// Not a documentation comment, which clap would show as the description of the command that holds it.
// The running server that a command asks through its admin API.
#[derive(Args)]
pub(crate) struct AdminServer {
    /// The admin API of the server
    #[arg(long, global = true, env = "LLMUX_ADMIN", value_name = "URL")]
    #[arg(default_value = "http://127.0.0.1:8081", hide_default_value = false)]
    pub(crate) admin: String,
    /// A file that holds the admin token
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) token_file: Option<PathBuf>,
    /// Seconds to wait for the answer of the server
    #[arg(long, global = true, value_name = "SECONDS", default_value_t = DEFAULT_TIMEOUT)]
    pub(crate) admin_timeout: u64,
}

/// Show the providers of a running server
#[derive(Args)]
#[command(arg_required_else_help = true)]
#[command(after_help = "Examples:
  llmux provider list
  llmux provider list --json")]
pub(crate) struct Provider {
    #[command(flatten)]
    pub(crate) server: AdminServer,
    #[command(subcommand)]
    pub(crate) command: ProviderCommand,
}

#[derive(Subcommand)]
pub(crate) enum ProviderCommand {
    /// List the deployments of each provider: state, tries, failures, failovers, latency
    #[command(after_help = "Examples:
  llmux provider list
  llmux provider list --json")]
    List {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
}

/// Create and inspect plugins, and change those of a running server
#[derive(Args)]
#[command(arg_required_else_help = true)]
#[command(after_help = "Examples:
  llmux plugin list
  llmux plugin new mine
  llmux plugin inspect ./libmine.so
  llmux plugin try ./libmine.so --config '{\"limit\": 10}'
  llmux plugin bench ./libmine.so
  llmux plugin load ./libmine.so --name mine --config '{\"limit\": 10}'
  llmux plugin unload mine

If the server runs on this machine as this user, the token for changes is found automatically. Otherwise it is read from
the environment variable LLMUX_ADMIN_TOKEN or from --token-file.")]
pub(crate) struct Plugin {
    #[command(flatten)]
    pub(crate) server: AdminServer,
    #[command(subcommand)]
    pub(crate) command: PluginCommand,
}

#[derive(Subcommand)]
pub(crate) enum PluginCommand {
    /// List the instances of a running server, or the libraries in folders
    #[command(after_help = "Examples:
  llmux plugin list
  llmux plugin list --json
  llmux plugin list --path                     the way of a request through the instances, and back
  llmux plugin list --dir target/release       no server, and no code in the files runs
  llmux plugin list --dir target/release -l    every member of the manifests")]
    List {
        /// List the libraries in this folder instead (repeatable)
        #[arg(long, value_name = "DIR")]
        dir: Vec<PathBuf>,
        /// Show all columns of libraries: also authors, license, SDK, compiler, panic strategy, and the whole checksum
        #[arg(long, short, requires = "dir")]
        long: bool,
        /// Show the way of a request through the instances and back: what each sees, and where requests went back early
        #[arg(long, conflicts_with_all = ["dir", "json"])]
        path: bool,
        #[command(flatten)]
        keys: Keys,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Show a library's manifest, without running its code
    #[command(after_help = "Examples:
  llmux plugin inspect ./libmine.so
  llmux plugin inspect ./libmine.so --json")]
    Inspect {
        /// The library
        file: PathBuf,
        #[command(flatten)]
        keys: Keys,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Check whether this host would load a library, without running its code unless --trial asks for it
    #[command(after_help = "Examples:
  llmux plugin verify ./libmine.so
  llmux plugin verify ./libmine.so --sha256 4f0c…
  llmux plugin verify ./libmine.so --key minisign.pub
  llmux plugin verify ./libmine.so --trial     runs code of the library, in a child process

With --key, the library must be signed by one of the keys (NAME.so.minisig beside it).")]
    Verify {
        /// The library
        file: PathBuf,
        /// The SHA-256 that the library must have, in hexadecimal
        #[arg(long, value_name = "HASH")]
        sha256: Option<String>,
        #[command(flatten)]
        keys: Keys,
        /// Also load the library on trial: runs its initializers in a child process
        #[arg(long)]
        trial: bool,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    New(NewArgs),
    Try(TryArgs),
    Bench(BenchArgs),
    /// Load a plugin into a running server
    #[command(after_help = "Examples:
  llmux plugin load ./libmine.so
  llmux plugin load ./libmine.so --name mine --priority 20 --on-error fail --config '{\"limit\": 10}'
  llmux plugin load ./libmine.so --isolation process --memory 268435456
  llmux plugin load system-prompt      a plugin that the server finds by its name")]
    Load {
        /// The library's file (with a `/` in it or the extension of a library), or a plugin's name
        #[arg(value_name = "FILE|PLUGIN")]
        what: String,
        /// The instance's name [default: the plugin's]
        #[arg(long)]
        name: Option<String>,
        /// Priority in the pipeline; the lowest number runs first [default: the plugin's]
        #[arg(long, allow_negative_numbers = true)]
        priority: Option<i32>,
        /// Effect of a failed hook on the request [default: the plugin's]
        #[arg(long, value_enum)]
        on_error: Option<OnErrorArg>,
        /// Its configuration, a JSON object
        #[arg(long, value_name = "JSON", value_parser = json_object)]
        config: Option<Value>,
        /// The SHA-256 that the library must have, in hexadecimal
        #[arg(long, value_name = "HASH")]
        sha256: Option<String>,
        /// The place where the library's code runs [default: as `[plugins]` says]
        #[arg(long, value_enum)]
        isolation: Option<IsolationArg>,
        #[command(flatten)]
        child: ChildArgs,
    },
    /// Load an instance's library again, for all instances of the library
    #[command(after_help = "Examples:
  llmux plugin reload mine")]
    Reload {
        /// The instance
        name: String,
    },
    /// Change an instance's settings; settings that are not named stay
    #[command(after_help = "Examples:
  llmux plugin set mine --priority 20
  llmux plugin set mine --default priority --default on-error
  llmux plugin set mine --config '{\"limit\": 20}' --on-error fail")]
    #[command(group(clap::ArgGroup::new("settings").required(true).multiple(true).args(ChildArgs::NAMES)))]
    Set {
        /// The instance
        name: String,
        /// Priority in the pipeline; the lowest number runs first
        #[arg(long, allow_negative_numbers = true, group = "settings")]
        priority: Option<i32>,
        /// Effect of a failed hook on the request
        #[arg(long, value_enum, group = "settings")]
        on_error: Option<OnErrorArg>,
        /// Configuration, a JSON object that replaces the whole old one
        #[arg(long, value_name = "JSON", value_parser = json_object, group = "settings")]
        config: Option<Value>,
        /// A setting to reset to the plugin's default; for the configuration, to `{}` (repeatable)
        #[arg(long = "default", value_enum, value_name = "SETTING", group = "settings")]
        defaults: Vec<SettingArg>,
        /// The place where the library's code runs; another place makes a new instance
        #[arg(long, value_enum, group = "settings")]
        isolation: Option<IsolationArg>,
        #[command(flatten)]
        child: ChildArgs,
        #[command(flatten)]
        force: Force,
    },
    /// Remove an instance from the server
    #[command(after_help = "Examples:
  llmux plugin unload mine
  llmux plugin unload guard --force")]
    Unload {
        /// The instance
        name: String,
        #[command(flatten)]
        force: Force,
    },
    /// Put a disabled instance back into the pipeline
    #[command(after_help = "Examples:
  llmux plugin enable mine")]
    Enable {
        /// The instance
        name: String,
    },
    /// Take an instance out of the pipeline and keep it alive
    #[command(after_help = "Examples:
  llmux plugin disable mine")]
    Disable {
        /// The instance
        name: String,
        #[command(flatten)]
        force: Force,
    },
}

#[derive(Args)]
pub(crate) struct Keys {
    /// A trusted public key of minisign: the line that begins with RW, or the file (repeatable)
    #[arg(long = "key", value_name = "KEY")]
    pub(crate) keys: Vec<String>,
}

/// Parses `FILE` or `FILE={…}`. A `=` without a following `{` is part of the file's name.
fn library_and_config(text: &str) -> Result<(PathBuf, Value), String> {
    match text.split_once("={") {
        Some((file, config)) => Ok((file.into(), json_object(&format!("{{{config}"))?)),
        None => Ok((text.into(), Value::Object(serde_json::Map::new()))),
    }
}

#[cfg(test)]
mod tests;
