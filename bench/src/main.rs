//! End-to-end benchmark of LLMux: a load generator, a mock provider, and gateways between them, on one machine.
//!
//! `cargo run --release -p llmux-bench` runs it, after `cargo build --release`. `docs/performance.md` has its results.
//! Deliberately absent: assertions about times, and every use of the crates of LLMux other than the terminal output. The
//! gateway is the program that users run.

#[cfg(target_os = "linux")]
mod answer;
#[cfg(target_os = "linux")]
mod arguments;
#[cfg(target_os = "linux")]
mod case;
#[cfg(target_os = "linux")]
mod command;
#[cfg(target_os = "linux")]
mod exchange;
#[cfg(target_os = "linux")]
mod launch;
#[cfg(target_os = "linux")]
mod load;
#[cfg(target_os = "linux")]
mod measure;
#[cfg(target_os = "linux")]
mod pages;
#[cfg(target_os = "linux")]
mod peer;
#[cfg(target_os = "linux")]
mod per_plugin;
#[cfg(target_os = "linux")]
mod plot;
#[cfg(target_os = "linux")]
mod process;
#[cfg(target_os = "linux")]
mod procfs;
#[cfg(target_os = "linux")]
mod report;
#[cfg(target_os = "linux")]
mod results;
#[cfg(target_os = "linux")]
mod run;
#[cfg(target_os = "linux")]
mod targets;
#[cfg(target_os = "linux")]
mod upstream;

use std::process::ExitCode;

#[cfg(target_os = "linux")]
fn main() -> ExitCode {
    match command::run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            llmux_terminal::print_error(&format!("error: {error}\n"));
            ExitCode::FAILURE
        }
    }
}

#[cfg(not(target_os = "linux"))]
fn main() -> ExitCode {
    llmux_terminal::print_error("error: llmux-bench reads processor times from /proc; run it on Linux\n");
    ExitCode::FAILURE
}
