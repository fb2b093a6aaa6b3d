//! The figures of the bench: time of the processor, and medians.

use std::time::Duration;

/// Time of the processor of this process and of another one.
pub(crate) fn cpu(other: Option<u32>) -> Duration {
    let of = |process: String| {
        let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).expect("its figures");
        let fields: Vec<_> = stat.rsplit_once(") ").expect("fields").1.split(' ').collect();
        let ticks = [11, 12].map(|at| fields[at].parse::<u64>().expect("ticks")).iter().sum::<u64>();
        Duration::from_millis(ticks * 1000 / rustix::param::clock_ticks_per_second())
    };
    of("self".to_owned()) + other.map_or(Duration::ZERO, |pid| of(pid.to_string()))
}

pub(crate) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
