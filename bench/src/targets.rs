//! The targets of the benchmark: figures that LLMux is to reach, most of them beside another program of the same run.
//!
//! `report` shows them. Deliberately absent: consequences. A target that is not met fails nothing, because a loaded machine
//! would fail it.

use crate::{
    case::Case,
    peer::Peer,
    results::{Figure, Results},
};

/// A target.
pub(crate) struct Target {
    /// Figure and case, for readers.
    pub(crate) name: &'static str,
    quantity: Quantity,
    bound: Bound,
}

/// A measured quantity.
enum Quantity {
    /// Figure of one peer divided by the figure of another.
    Ratio(Case, Peer, Peer, Figure),
    /// Largest memory under load, in megabytes.
    Memory(Peer),
    /// Memory after the burst, in megabytes.
    MemoryAfterBurst(Peer),
    /// 99th percentile of the delay that a peer adds to an event, in milliseconds.
    AddedDelay(Peer),
}

#[derive(Clone, Copy)]
enum Bound {
    AtMost(f64),
    AtLeast(f64),
}

const PROCESSOR: Figure = |round| round.processor_us;
const THROUGHPUT: Figure = |round| Some(round.requests_per_second);
const LATENCY_P99: Figure = |round| Some(round.latency_p99_us);
const MEMORY: Figure = |round| round.memory_mb;
const DELAY_P99: Figure = |round| round.delay_p99_us;

const fn processor(name: &'static str, case: Case, peer: Peer, base: Peer, at_most: f64) -> Target {
    Target { name, quantity: Quantity::Ratio(case, peer, base, PROCESSOR), bound: Bound::AtMost(at_most) }
}

/// Every target.
pub(crate) const TARGETS: [Target; 12] = [
    processor("`sse20-c16`, processor time, `llmux` / Envoy", Case::Stream, Peer::Llmux, Peer::Envoy, 1.0),
    processor(
        "`sse20-c16`, processor time, `llmux-4` / Envoy",
        Case::Stream,
        Peer::LlmuxFour,
        Peer::Envoy,
        1.5,
    ),
    processor("`c64`, processor time, `llmux` / Envoy", Case::C64, Peer::Llmux, Peer::Envoy, 0.75),
    processor("`c64`, processor time, `llmux-4` / Envoy", Case::C64, Peer::LlmuxFour, Peer::Envoy, 1.1),
    processor("`256k-c8`, processor time, `llmux` / nginx", Case::Large, Peer::Llmux, Peer::Nginx, 0.8),
    processor("`256k-c8`, processor time, `llmux-4` / nginx", Case::Large, Peer::LlmuxFour, Peer::Nginx, 1.2),
    processor("`c64`, processor time, `llmux-hit` / nginx", Case::C64, Peer::LlmuxHit, Peer::Nginx, 1.0),
    Target {
        name: "`c64`, requests per second, `llmux-4` / direct",
        quantity: Quantity::Ratio(Case::C64, Peer::LlmuxFour, Peer::Direct, THROUGHPUT),
        bound: Bound::AtLeast(0.25),
    },
    Target {
        name: "`c16`, 99th percentile of the latency, `llmux-4` / direct",
        quantity: Quantity::Ratio(Case::C16, Peer::LlmuxFour, Peer::Direct, LATENCY_P99),
        bound: Bound::AtMost(8.0),
    },
    Target {
        name: "memory under load, `llmux-4`, in MB",
        quantity: Quantity::Memory(Peer::LlmuxFour),
        bound: Bound::AtMost(32.0),
    },
    Target {
        name: "memory after `burst`, `llmux-4`, in MB",
        quantity: Quantity::MemoryAfterBurst(Peer::LlmuxFour),
        bound: Bound::AtMost(60.0),
    },
    Target {
        name: "`slow-stream`, 99th percentile of the delay that `llmux-4` adds to an event, in ms",
        quantity: Quantity::AddedDelay(Peer::LlmuxFour),
        bound: Bound::AtMost(0.1),
    },
];

impl Target {
    /// Returns the measured figure; `None` if a case or a peer was left out.
    pub(crate) fn figure(&self, results: &Results) -> Option<f64> {
        match self.quantity {
            Quantity::Ratio(case, peer, base, figure) => results.ratio(case, peer, base, figure),
            Quantity::Memory(peer) => results.memory_under_load(peer),
            Quantity::MemoryAfterBurst(peer) => results.median(Case::Burst, peer, MEMORY),
            Quantity::AddedDelay(peer) => {
                results.difference(Case::SlowStream, peer, Peer::Direct, DELAY_P99).map(|delay| delay / 1e3)
            }
        }
    }

    /// Returns true if a figure meets the target.
    pub(crate) fn is_met(&self, figure: f64) -> bool {
        match self.bound {
            Bound::AtMost(bound) => figure <= bound,
            Bound::AtLeast(bound) => figure >= bound,
        }
    }

    /// The bound, for readers.
    pub(crate) fn bound(&self) -> String {
        match self.bound {
            Bound::AtMost(bound) => format!("at most {bound}"),
            Bound::AtLeast(bound) => format!("at least {bound}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::sample;

    /// Returns the targets that the results have figures for.
    fn measured(results: &Results) -> Vec<(&'static str, f64, bool)> {
        let figures = TARGETS.iter().filter_map(|target| Some((target, target.figure(results)?)));
        figures.map(|(target, figure)| (target.name, figure, target.is_met(figure))).collect()
    }

    #[test]
    fn a_ratio_at_its_bound_is_met_and_above_it_is_not() {
        for (processor, is_met) in [(75.0, true), (75.1, false)] {
            let results = sample(Case::C64, &[(Peer::Envoy, &[100.0]), (Peer::Llmux, &[processor])]);
            let expected = [("`c64`, processor time, `llmux` / Envoy", processor / 100.0, is_met)];
            assert_eq!(measured(&results), expected);
        }
    }

    #[test]
    fn a_throughput_must_be_at_least_its_bound() {
        for (processor, is_met) in [(400.0, true), (401.0, false)] {
            let results = sample(Case::C64, &[(Peer::Direct, &[100.0]), (Peer::LlmuxFour, &[processor])]);
            let found = measured(&results);
            let throughput = found.iter().find(|(name, ..)| name.contains("per second")).expect("a figure");
            assert_eq!(throughput.2, is_met, "{found:?}");
        }
    }

    #[test]
    fn the_added_delay_is_the_difference_from_direct_in_milliseconds() {
        let results = sample(Case::SlowStream, &[(Peer::Direct, &[100.0]), (Peer::LlmuxFour, &[150.0])]);
        let found = measured(&results);
        // The 99th percentile is twice the figure of the sample.
        assert_eq!(found.iter().map(|&(_, figure, met)| (figure, met)).collect::<Vec<_>>(), [(0.1, true)]);
    }
}
