//! The command: runs the benchmark or a part of it, until it ends or a signal arrives, and shows the results.
//!
//! `main` calls it. Deliberately absent: the measurement.

use std::future::Future;

use clap::Parser;
use llmux_terminal::CliError;
use tokio::signal::unix::{SignalKind, signal};

use crate::{
    arguments::{Arguments, Part},
    pages, plot, report,
    run::{self, Settings},
    upstream,
};

/// Runs the command.
///
/// # Errors
///
/// The one line that the command ends with.
pub(crate) fn run() -> Result<(), CliError> {
    let arguments = Arguments::parse();
    if arguments.write && cfg!(debug_assertions) {
        return Err(CliError::new("--write needs a release build: cargo run --release -p llmux-bench"));
    }
    // One thread: the load generator must leave the other processors to the programs under test.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| CliError::new(format!("cannot start a runtime: {error}")))?;
    if let Some(Part::Upstream { port }) = arguments.part {
        return runtime.block_on(upstream::serve(port)).map_err(CliError::new);
    }
    let settings = Settings {
        cases: arguments.cases(),
        peers: arguments.peers(),
        rounds: arguments.rounds.into(),
        time: arguments.seconds,
        envoy: arguments.envoy,
    };
    let results = runtime.block_on(until_signal(run::run(&settings))).map_err(CliError::new)?;
    report::print_report(&results)?;
    if let Some(file) = arguments.json {
        let json = serde_json::to_string_pretty(&results).map_err(CliError::new)?;
        pages::write_file(&file, &(json + "\n")).map_err(CliError::new)?;
    }
    if arguments.write {
        let part = if arguments.per_plugin { pages::PER_PLUGIN } else { pages::GATEWAYS };
        pages::write(&part, &report::markdown(&results)).map_err(CliError::new)?;
        if !arguments.per_plugin {
            pages::write_plot(&plot::svg(&results)).map_err(CliError::new)?;
        }
    }
    Ok(())
}

/// Waits for a result. An interrupt drops the work, and with it every program that the work has started.
async fn until_signal<T>(work: impl Future<Output = Result<T, String>>) -> Result<T, String> {
    let on = |kind| signal(kind).map_err(|error| format!("cannot wait for signals: {error}"));
    let (mut interrupt, mut end) = (on(SignalKind::interrupt())?, on(SignalKind::terminate())?);
    tokio::select! {
        result = work => result,
        _ = interrupt.recv() => Err("interrupted".to_owned()),
        _ = end.recv() => Err("ended by a signal".to_owned()),
    }
}
