//! One round of one peer in one case: the load, and the processor time and memory of the peer around it.
//!
//! `run` calls it. Deliberately absent: the order of the rounds, and medians.

use std::time::Duration;

use hdrhistogram::Histogram;

use crate::{
    case::{BURST_REST, BURST_ROUNDS, Case},
    load::{Load, Outcome},
    procfs,
    results::Round,
};

/// Largest time that a histogram tells from larger ones, in nanoseconds.
const MAX_NANOS: u64 = 60_000_000_000;

/// Measures one load. `process` is the id of the peer; `None` without a gateway.
///
/// # Errors
///
/// If a response is wrong, or none comes.
pub(crate) async fn measure(
    case: Case,
    load: Load,
    process: Option<u32>,
    time: Duration,
) -> Result<Round, String> {
    let processes = process.map(procfs::tree);
    let this = [std::process::id()];
    let before = processes.as_deref().map(procfs::processor_time);
    let this_before = procfs::processor_time(&this);
    let outcome = match case {
        Case::Burst => burst(load).await?,
        _ => load.of_time(time).run().await?,
    };
    let this_used = procfs::processor_time(&this).saturating_sub(this_before);
    let used = processes.as_deref().zip(before);
    let used = used.map(|(processes, before)| procfs::processor_time(processes).saturating_sub(before));
    if case == Case::Burst {
        tokio::time::sleep(BURST_REST).await;
    }
    let requests = outcome.latencies.len();
    if requests == 0 {
        return Err("no request ended; give more --seconds".to_owned());
    }
    let per_request = |time: Duration| time.as_secs_f64() * 1e6 / requests as f64;
    let latencies = percentiles(&outcome.latencies)?;
    let delays = match outcome.delays.is_empty() {
        true => None,
        false => Some(percentiles(&outcome.delays)?),
    };
    Ok(Round {
        requests,
        requests_per_second: requests as f64 / outcome.elapsed.as_secs_f64(),
        latency_p50_us: latencies.0,
        latency_p99_us: latencies.1,
        processor_us: used.map(per_request),
        load_processor_us: per_request(this_used),
        memory_mb: processes.map(|processes| procfs::resident(&processes) as f64 / 1e6),
        delay_p50_us: delays.map(|delays| delays.0),
        delay_p99_us: delays.map(|delays| delays.1),
    })
}

/// Sends the rounds of concurrent requests of the case `burst`, each after the one before has ended.
async fn burst(load: Load) -> Result<Outcome, String> {
    let mut all = Outcome::default();
    for _ in 0..BURST_ROUNDS {
        let outcome = load.clone().of_requests(1).run().await?;
        all.elapsed += outcome.elapsed;
        all.latencies.extend(outcome.latencies);
    }
    Ok(all)
}

/// Returns the median and the 99th percentile of nanoseconds, in microseconds.
fn percentiles(nanos: &[u64]) -> Result<(f64, f64), String> {
    let histogram = Histogram::<u64>::new_with_bounds(1, MAX_NANOS, 3);
    let mut histogram = histogram.map_err(|error| error.to_string())?;
    for &value in nanos {
        histogram.saturating_record(value);
    }
    let at = |quantile| histogram.value_at_quantile(quantile) as f64 / 1e3;
    Ok((at(0.5), at(0.99)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_in_microseconds() {
        let nanos: Vec<u64> = (1..=100).map(|value| value * 1_000).collect();
        let (middle, high) = percentiles(&nanos).expect("a histogram");
        assert!((middle - 50.0).abs() < 0.1 && (high - 99.0).abs() < 0.2, "{middle} {high}");
    }
}
