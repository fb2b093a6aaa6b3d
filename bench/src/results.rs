//! The results of a run: every measured round, and the medians and ratios of rounds.
//!
//! `measure` makes the rounds, `run` gathers them; `targets`, `report` and `plot` read them. A ratio is formed within one
//! round, because the machine may be faster in the next one. Deliberately absent: how a figure is shown.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::{case::Case, peer::Peer};

/// Figures of one load.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub(crate) struct Round {
    /// Number of requests, all of them answered in full.
    pub(crate) requests: usize,
    /// Requests per second.
    pub(crate) requests_per_second: f64,
    /// Median time of a request, in microseconds.
    pub(crate) latency_p50_us: f64,
    /// 99th percentile of the time of a request, in microseconds.
    pub(crate) latency_p99_us: f64,
    /// Processor time of the peer per request, in microseconds; `None` without a gateway.
    pub(crate) processor_us: Option<f64>,
    /// Processor time of the load generator per request, in microseconds.
    pub(crate) load_processor_us: f64,
    /// Resident memory of the peer after the load, in megabytes of 1,000,000 bytes; `None` without a gateway.
    pub(crate) memory_mb: Option<f64>,
    /// Median time of an event from the provider to the client, in microseconds; `None` if the events carry no time.
    pub(crate) delay_p50_us: Option<f64>,
    /// 99th percentile of the time of an event from the provider to the client, in microseconds.
    pub(crate) delay_p99_us: Option<f64>,
}

/// Rounds of one peer in one case.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Series {
    pub(crate) case: Case,
    pub(crate) peer: Peer,
    pub(crate) rounds: Vec<Round>,
}

/// Everything that a run measured.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Results {
    /// Kind of the machine: processor, number of processors, system.
    pub(crate) machine: String,
    /// Seconds of one load.
    pub(crate) seconds: f64,
    /// Rounds of each peer in each case.
    pub(crate) rounds: usize,
    /// Versions of the programs, by name.
    pub(crate) versions: BTreeMap<&'static str, String>,
    /// Measured rounds, in the order of the cases.
    pub(crate) series: Vec<Series>,
}

/// A figure of a round; `None` if the round does not have it.
pub(crate) type Figure = fn(&Round) -> Option<f64>;

impl Results {
    /// Measured cases, in order.
    pub(crate) fn cases(&self) -> Vec<Case> {
        let mut cases: Vec<_> = self.series.iter().map(|series| series.case).collect();
        cases.sort();
        cases.dedup();
        cases
    }

    /// Measured peers, in order.
    pub(crate) fn peers(&self) -> Vec<Peer> {
        let mut peers: Vec<_> = self.series.iter().map(|series| series.peer).collect();
        peers.sort();
        peers.dedup();
        peers
    }

    fn rounds_of(&self, case: Case, peer: Peer) -> Option<&[Round]> {
        let series = self.series.iter().find(|series| series.case == case && series.peer == peer);
        series.map(|series| &*series.rounds)
    }

    /// Returns the median of a figure over the rounds; `None` if it was not measured.
    pub(crate) fn median(&self, case: Case, peer: Peer, figure: Figure) -> Option<f64> {
        median(self.rounds_of(case, peer)?.iter().map(figure).collect::<Option<_>>()?)
    }

    /// Returns the median of the ratios of two peers, each ratio within one round; `None` if one was not measured.
    pub(crate) fn ratio(&self, case: Case, peer: Peer, base: Peer, figure: Figure) -> Option<f64> {
        self.compared(case, peer, base, figure, |one, other| one / other)
    }

    /// Returns the median of the differences of two peers, each difference within one round; `None` if one was not
    /// measured.
    pub(crate) fn difference(&self, case: Case, peer: Peer, base: Peer, figure: Figure) -> Option<f64> {
        self.compared(case, peer, base, figure, |one, other| one - other)
    }

    /// Returns the median of the slopes of a figure over several peers, each slope within one round, by least squares over
    /// the numbers beside the peers; `None` if a peer was not measured.
    pub(crate) fn slope(&self, case: Case, peers: &[(f64, Peer)], figure: Figure) -> Option<f64> {
        let rounds: Vec<_> =
            peers.iter().map(|&(_, peer)| self.rounds_of(case, peer)).collect::<Option<_>>()?;
        let count = rounds.iter().map(|rounds| rounds.len()).min()?;
        let slope = |round: usize| {
            let point = |(&(x, _), rounds): (&(f64, Peer), &&[Round])| Some((x, figure(&rounds[round])?));
            least_squares(&peers.iter().zip(&rounds).map(point).collect::<Option<Vec<_>>>()?)
        };
        median((0..count).map(slope).collect::<Option<_>>()?)
    }

    fn compared(
        &self,
        case: Case,
        peer: Peer,
        base: Peer,
        figure: Figure,
        compare: fn(f64, f64) -> f64,
    ) -> Option<f64> {
        let pairs = self.rounds_of(case, peer)?.iter().zip(self.rounds_of(case, base)?);
        median(pairs.map(|(one, other)| Some(compare(figure(one)?, figure(other)?))).collect::<Option<_>>()?)
    }

    /// Returns the largest median of the resident memory after the loads that have costs, in megabytes.
    pub(crate) fn memory_under_load(&self, peer: Peer) -> Option<f64> {
        let costed = self.cases().into_iter().filter(|case| case.is_costed());
        costed.filter_map(|case| self.median(case, peer, |round| round.memory_mb)).reduce(f64::max)
    }
}

/// Returns the median, the mean of the two in the middle if the number is even; `None` without a number.
fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    let upper = *values.get(middle)?;
    Some(if values.len() % 2 == 1 { upper } else { (values[middle - 1] + upper) / 2.0 })
}

/// Returns the slope of the straight line through points, by least squares; `None` for points that all have one `x`.
fn least_squares(points: &[(f64, f64)]) -> Option<f64> {
    let mean = |of: fn(&(f64, f64)) -> f64| points.iter().map(of).sum::<f64>() / points.len() as f64;
    let (x, y) = (mean(|point| point.0), mean(|point| point.1));
    let spread: f64 = points.iter().map(|point| (point.0 - x).powi(2)).sum();
    let common: f64 = points.iter().map(|point| (point.0 - x) * (point.1 - y)).sum();
    (spread > 0.0).then(|| common / spread)
}

/// Results for tests: each peer with the processor times of its rounds in one case.
#[cfg(test)]
pub(crate) fn sample(case: Case, peers: &[(Peer, &[f64])]) -> Results {
    let round = |&processor: &f64| Round {
        requests: 100,
        requests_per_second: 1e6 / processor,
        latency_p50_us: processor * 2.0,
        latency_p99_us: processor * 4.0,
        processor_us: Some(processor),
        load_processor_us: 7.0,
        memory_mb: Some(processor),
        delay_p50_us: Some(processor),
        delay_p99_us: Some(processor * 2.0),
    };
    let series =
        peers.iter().map(|&(peer, times)| Series { case, peer, rounds: times.iter().map(round).collect() });
    Results { series: series.collect(), ..Results::default() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_median_is_the_middle_of_the_sorted_values() {
        assert_eq!(median(vec![30.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(vec![30.0, 1.0, 2.0, 4.0]), Some(3.0));
        assert_eq!(median(vec![]), None);
    }

    #[test]
    fn a_ratio_is_formed_within_each_round() {
        // The machine is ten times slower in the second round. The ratio of the medians would be 1.
        let results =
            sample(Case::C64, &[(Peer::Llmux, &[4.0, 20.0, 5.0]), (Peer::Nginx, &[2.0, 10.0, 5.0])]);
        let figure: Figure = |round| round.processor_us;
        assert_eq!(results.ratio(Case::C64, Peer::Llmux, Peer::Nginx, figure), Some(2.0));
        assert_eq!(results.difference(Case::C64, Peer::Llmux, Peer::Nginx, figure), Some(2.0));
        assert_eq!(results.ratio(Case::C64, Peer::Llmux, Peer::Envoy, figure), None);
        assert_eq!(results.ratio(Case::C1, Peer::Llmux, Peer::Nginx, figure), None);
    }

    #[test]
    fn a_slope_is_formed_within_each_round() {
        // 3 µs for each plugin beyond 10 µs. The machine is ten times slower in the second round.
        let peers = [1, 4, 64].map(|count| (f64::from(count), Peer::LlmuxPlugins(count as usize)));
        let times = [[13.0, 130.0, 13.0], [22.0, 220.0, 22.0], [202.0, 2_020.0, 202.0]];
        let times: Vec<_> = peers.iter().zip(&times).map(|(&(_, peer), times)| (peer, &times[..])).collect();
        let results = sample(Case::C64, &times);
        let slope = |case, peers| results.slope(case, peers, |round| round.processor_us);
        assert!((slope(Case::C64, &peers).expect("a slope") - 3.0).abs() < 1e-9);
        assert_eq!(slope(Case::C1, &peers), None);
        assert_eq!(slope(Case::C64, &peers[..1]), None, "one point has no slope");
        assert_eq!(slope(Case::C64, &[peers[0], (4.0, Peer::EnvoyModules(4))]), None);
    }

    #[test]
    fn the_memory_under_load_is_that_of_the_largest_case() {
        let mut results = sample(Case::C1, &[(Peer::Llmux, &[20.0, 22.0, 90.0])]);
        results.series.extend(sample(Case::C64, &[(Peer::Llmux, &[30.0])]).series);
        results.series.extend(sample(Case::Burst, &[(Peer::Llmux, &[500.0])]).series);
        assert_eq!(results.memory_under_load(Peer::Llmux), Some(30.0));
        assert_eq!(results.memory_under_load(Peer::Nginx), None);
    }
}
