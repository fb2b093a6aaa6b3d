//! Arguments of the commands that change one instance of a running server.
//!
//! `cli` parses them.

use clap::{Args, ValueEnum};

#[derive(Args)]
pub(crate) struct Force {
    /// Make the change even if the instance fails closed and would not do so any more
    #[arg(long)]
    pub(crate) force: bool,
}

#[derive(Clone, Copy, ValueEnum)]
pub(crate) enum OnErrorArg {
    /// The request continues without the hook's changes
    Continue,
    /// The request fails
    Fail,
}

#[derive(Clone, Copy, ValueEnum)]
pub(crate) enum IsolationArg {
    /// In the server
    None,
    /// In a child process of its own
    Process,
}

impl IsolationArg {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            IsolationArg::None => "none",
            IsolationArg::Process => "process",
        }
    }
}

/// A setting of an instance.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum SettingArg {
    Priority,
    OnError,
    Config,
    Isolation,
    Sandbox,
    Read,
    Write,
    Env,
    Network,
    Processes,
    Memory,
    Files,
    Cpu,
}

impl SettingArg {
    /// Returns the setting's name in the admin API.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            SettingArg::Priority => "priority",
            SettingArg::OnError => "on_error",
            SettingArg::Config => "config",
            SettingArg::Isolation => "isolation",
            SettingArg::Sandbox => "sandbox",
            SettingArg::Read => "read",
            SettingArg::Write => "write",
            SettingArg::Env => "env",
            SettingArg::Network => "network",
            SettingArg::Processes => "processes",
            SettingArg::Memory => "memory",
            SettingArg::Files => "files",
            SettingArg::Cpu => "cpu",
        }
    }
}

impl OnErrorArg {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            OnErrorArg::Continue => "continue",
            OnErrorArg::Fail => "fail",
        }
    }
}
