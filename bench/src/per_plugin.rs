//! The cost of one plugin: `llmux` with a growing number of plugins that do nothing, beside Envoy with as many modules that
//! do nothing.
//!
//! `arguments` reads the cases and peers here, `report` shows the rows. A plugin has a hook of the request, of the answer and
//! of each chunk; a module has every function of an HTTP filter. Deliberately absent: a way of its own to measure.

use crate::{case::Case, peer::Peer, results::Results};

/// Numbers of plugins, or modules.
pub(crate) const COUNTS: [usize; 4] = [1, 4, 16, 64];

/// Cases: plain answers and streams.
pub(crate) const CASES: [Case; 2] = [Case::C64, Case::Stream];

/// The gateways, each with a number of plugins.
const KINDS: [fn(usize) -> Peer; 2] = [Peer::EnvoyModules, Peer::LlmuxPlugins];

/// The peers: each gateway with each number of plugins.
pub(crate) fn peers() -> Vec<Peer> {
    KINDS.into_iter().flat_map(|kind| COUNTS.map(kind)).collect()
}

/// Figures of one gateway in one case.
pub(crate) struct Row {
    pub(crate) case: Case,
    /// Name of the gateway.
    pub(crate) title: &'static str,
    /// Processor time per request, in microseconds, with each of [`COUNTS`] plugins; `None` if it was not measured.
    pub(crate) processor_us: [Option<f64>; COUNTS.len()],
    /// Processor time per request that one more plugin costs, in microseconds.
    pub(crate) slope_us: Option<f64>,
}

/// Returns a row for each case and gateway that was measured; none for a run of other peers.
pub(crate) fn rows(results: &Results) -> Vec<Row> {
    let measured = results.peers();
    let row = |case: Case, kind: fn(usize) -> Peer| Row {
        case,
        title: kind(1).title(),
        processor_us: COUNTS.map(|count| results.median(case, kind(count), |round| round.processor_us)),
        slope_us: results
            .slope(case, &COUNTS.map(|count| (count as f64, kind(count))), |round| round.processor_us),
    };
    let kinds = KINDS.into_iter().filter(|kind| measured.contains(&kind(COUNTS[0])));
    results.cases().into_iter().flat_map(|case| kinds.clone().map(move |kind| row(case, kind))).collect()
}
