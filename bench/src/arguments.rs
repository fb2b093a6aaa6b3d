//! The command line.
//!
//! `main` parses it. Deliberately absent: anything that needs a file.

use std::{path::PathBuf, time::Duration};

use clap::{Parser, Subcommand};

use crate::{case::Case, peer::Peer, per_plugin};

const EXAMPLES: &str = "\
Build the programs first: cargo build --release

Examples:
  Everything, in about ten minutes:
    cargo run --release -p llmux-bench
  A quick look at one case:
    cargo run --release -p llmux-bench -- --cases c64 --peers nginx,llmux,llmux-4 --rounds 3
  The results for docs/performance.md, with an Envoy that is not on PATH:
    cargo run --release -p llmux-bench -- --envoy ~/bin/envoy --write
  The cost of one plugin, beside that of one module of Envoy, for docs/performance.md, in about three minutes:
    cargo run --release -p llmux-bench -- --per-plugin --envoy ~/bin/envoy --write

Linux only. Compare the ratios of one run; absolute times differ between machines.";

/// Measures gateways end to end: processor time per request, throughput, latency, memory, and the delay of events
#[derive(Debug, Parser)]
#[command(name = "llmux-bench", version, after_help = EXAMPLES, args_conflicts_with_subcommands = true)]
pub(crate) struct Arguments {
    /// Cases to measure, separated by commas
    #[arg(long, value_enum, value_delimiter = ',', default_values_t = Case::ALL)]
    pub(crate) cases: Vec<Case>,
    /// Gateways to measure, separated by commas; without `direct`, no figure is compared with a direct connection
    #[arg(long, value_enum, value_delimiter = ',', default_values_t = Peer::ALL)]
    pub(crate) peers: Vec<Peer>,
    /// Measure 1, 4, 16 and 64 plugins with empty hooks, beside Envoy with as many modules, in place of these gateways and
    /// cases
    #[arg(long, conflicts_with_all = ["cases", "peers"])]
    pub(crate) per_plugin: bool,
    /// Rounds of each gateway in each case; the figures are medians of them
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..=100))]
    pub(crate) rounds: u16,
    /// Time of one load, in seconds, from 0.1 to 60
    #[arg(long, default_value = "2", value_parser = seconds)]
    pub(crate) seconds: Duration,
    /// Program of Envoy, if it is not on PATH
    #[arg(long, value_name = "PATH")]
    pub(crate) envoy: Option<PathBuf>,
    /// Write the tables into docs/performance.md, and without --per-plugin the plot into docs/performance.svg
    #[arg(long)]
    pub(crate) write: bool,
    /// Write every round as JSON into this file
    #[arg(long, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,
    #[command(subcommand)]
    pub(crate) part: Option<Part>,
}

/// A process of the benchmark, which it starts itself.
#[derive(Debug, Subcommand)]
pub(crate) enum Part {
    /// The mock provider, until standard input ends
    #[command(hide = true)]
    Upstream {
        /// Port on loopback
        port: u16,
    },
}

fn seconds(text: &str) -> Result<Duration, String> {
    match text.parse() {
        Ok(seconds @ 0.1..=60.0) => Ok(Duration::from_secs_f64(seconds)),
        _ => Err("expected a number of seconds from 0.1 to 60".to_owned()),
    }
}

impl Arguments {
    /// The cases, each once and in the order in which they run.
    pub(crate) fn cases(&self) -> Vec<Case> {
        if self.per_plugin { per_plugin::CASES.into() } else { sorted(&self.cases) }
    }

    /// The peers, each once and in the order of tables.
    pub(crate) fn peers(&self) -> Vec<Peer> {
        if self.per_plugin { per_plugin::peers() } else { sorted(&self.peers) }
    }
}

fn sorted<T: Ord + Copy>(values: &[T]) -> Vec<T> {
    let mut values = values.to_vec();
    values.sort();
    values.dedup();
    values
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent_and_shows_no_hidden_part() {
        Arguments::command().debug_assert();
        let help = Arguments::command().render_help().to_string();
        assert!(!help.contains("upstream") && !help.contains("COMMAND"), "{help}");
    }

    #[test]
    fn cases_are_measured_once_and_in_order() {
        let arguments =
            Arguments::try_parse_from(["llmux-bench", "--cases", "burst,c1,c1", "--peers", "llmux-4,direct"]);
        let arguments = arguments.expect("arguments");
        assert_eq!(arguments.cases(), [Case::C1, Case::Burst]);
        assert_eq!(arguments.peers(), [Peer::Direct, Peer::LlmuxFour]);
    }

    #[test]
    fn the_cost_per_plugin_has_cases_and_peers_of_its_own() {
        let arguments = Arguments::try_parse_from(["llmux-bench", "--per-plugin"]).expect("arguments");
        assert_eq!(arguments.cases(), [Case::C64, Case::Stream]);
        assert_eq!(arguments.peers().len(), 8);
        for other in [["--cases", "c1"], ["--peers", "nginx"]] {
            let both = ["llmux-bench", "--per-plugin"].into_iter().chain(other);
            assert!(Arguments::try_parse_from(both).is_err(), "{other:?}");
        }
    }

    #[test]
    fn a_time_out_of_range_is_refused() {
        for text in ["0", "0.09", "61", "inf", "NaN", "two", "-1"] {
            assert!(seconds(text).is_err(), "{text}");
        }
        assert_eq!(seconds("0.5"), Ok(Duration::from_millis(500)));
    }
}
