//! Arguments for the rights and limits of the child process of an isolated instance.
//!
//! `cli` parses them, and `plugin` sends them to the server, which checks them.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use llmux_terminal::Result;
use serde_json::Value;

use super::admin_client;

#[derive(Args)]
#[command(next_help_heading = "Child process, with `--isolation process`")]
pub(crate) struct ChildArgs {
    /// The parts of the sandbox that it needs [default: as `[plugins]` says]
    #[arg(long, value_enum)]
    sandbox: Option<SandboxArg>,
    /// A file or folder that it may read (repeatable)
    #[arg(long, value_name = "PATH")]
    read: Vec<PathBuf>,
    /// A file or folder that it may read and write (repeatable)
    #[arg(long, value_name = "PATH")]
    write: Vec<PathBuf>,
    /// An environment variable of the server that it gets (repeatable)
    #[arg(long, value_name = "NAME")]
    env: Vec<String>,
    /// Permit sockets of IP
    #[arg(long)]
    network: bool,
    /// Permit to start processes
    #[arg(long)]
    processes: bool,
    /// Limit of its memory [default: as `[plugins]` says]
    #[arg(long, value_name = "BYTES")]
    memory: Option<u64>,
    /// Limit of its open descriptors [default: as `[plugins]` says]
    #[arg(long, value_name = "COUNT")]
    files: Option<u64>,
    /// Limit of its share of one processor over ten seconds [default: as `[plugins]` says]
    #[arg(long, value_name = "SHARE")]
    cpu: Option<f64>,
}

#[derive(Clone, Copy, ValueEnum)]
enum SandboxArg {
    /// The parts that the system has
    Available,
    /// Every part
    Required,
}

impl ChildArgs {
    /// The names of the arguments.
    pub(crate) const NAMES: [&str; 9] =
        ["sandbox", "read", "write", "env", "network", "processes", "memory", "files", "cpu"];

    /// Returns the members of the admin API's body that were given.
    pub(crate) fn members(self) -> Result<impl Iterator<Item = (&'static str, Option<Value>)>> {
        let Self { sandbox, read, write, env, network, processes, memory, files, cpu } = self;
        let sandbox = sandbox.map(|sandbox| match sandbox {
            SandboxArg::Available => Value::from("available"),
            SandboxArg::Required => Value::from("required"),
        });
        let list = |texts: Vec<String>| (!texts.is_empty()).then(|| Value::from(texts));
        let flag = |is_set: bool| is_set.then_some(Value::Bool(true));
        let members = [
            ("sandbox", sandbox),
            ("read", list(absolute(read)?)),
            ("write", list(absolute(write)?)),
            ("env", list(env)),
            ("network", flag(network)),
            ("processes", flag(processes)),
            ("memory", memory.map(Value::from)),
            ("files", files.map(Value::from)),
            ("cpu", cpu.map(Value::from)),
        ];
        Ok(members.into_iter())
    }
}

fn absolute(paths: Vec<PathBuf>) -> Result<Vec<String>> {
    paths.iter().map(|path| admin_client::absolute(path)).collect()
}
