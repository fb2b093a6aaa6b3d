//! The memory and the time of the processor of each child, which the host reads once a second, and their limits (rule I5).
//!
//! The thread of `spawner` measures all children, so that a request makes no system call for it.

use std::{
    collections::VecDeque,
    fs,
    sync::{Arc, Mutex, PoisonError, atomic::Ordering::Relaxed},
    time::Duration,
};

use tokio::time::Instant;

use super::connection::Connection;
use crate::isolation::plan::{ChildLimits, Used};

/// Time over which the share of the processor is measured.
const WINDOW: Duration = Duration::from_secs(10);

/// The measurement of one child.
pub(super) struct Meter {
    pid: u32,
    limits: ChildLimits,
    /// The figures of the instance, over all of its children.
    used: Arc<Used>,
    connection: Arc<Connection>,
    window: Mutex<Window>,
}

impl Meter {
    pub(super) fn new(pid: u32, limits: ChildLimits, used: Arc<Used>, connection: Arc<Connection>) -> Self {
        Self { pid, limits, used, connection, window: Mutex::default() }
    }

    /// Reads the figures of the child, and has it killed if it is above a limit. A child that has ended has none.
    pub(super) fn measure(&self) {
        if let Some((memory, cpu)) = read(self.pid) {
            self.take(Instant::now(), memory, cpu);
        }
    }

    fn take(&self, now: Instant, memory: u64, cpu: Duration) {
        self.used.memory.store(memory, Relaxed);
        if let Some(limit) = self.limits.memory.filter(|limit| memory > *limit) {
            let why = format!("it used {memory} bytes of memory, and `memory` permits {limit}");
            self.connection.condemn("memory", why);
        }
        let mut window = self.window.lock().unwrap_or_else(PoisonError::into_inner);
        let more = cpu.saturating_sub(window.last);
        self.used.cpu_micros.fetch_add(u64::try_from(more.as_micros()).unwrap_or_default(), Relaxed);
        let share = window.add(now, cpu);
        if let (Some(limit), Some(share)) = (self.limits.cpu, share)
            && share > limit
        {
            let why = format!("it used {share:.2} of a processor over {WINDOW:?}, and `cpu` permits {limit}");
            self.connection.condemn("cpu", why);
        }
    }
}

/// The last samples of the time of the processor.
#[derive(Default)]
struct Window {
    samples: VecDeque<(Instant, Duration)>,
    last: Duration,
}

impl Window {
    /// Adds a sample. Returns the share of one processor over the window; `None` until the samples cover it.
    fn add(&mut self, now: Instant, cpu: Duration) -> Option<f64> {
        self.last = cpu;
        self.samples.push_back((now, cpu));
        // The first one that is left begins the window.
        while self.samples.get(1).is_some_and(|(at, _)| now.duration_since(*at) >= WINDOW) {
            self.samples.pop_front();
        }
        let (at, before) = self.samples.front()?;
        let time = now.duration_since(*at);
        (time >= WINDOW).then(|| cpu.saturating_sub(*before).as_secs_f64() / time.as_secs_f64())
    }
}

/// Reads the memory of a process that the system cannot write back to files, in bytes, and its time of the processor.
fn read(pid: u32) -> Option<(u64, Duration)> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    Some((memory(&status)?, cpu(&stat, rustix::param::clock_ticks_per_second())?))
}

/// Returns the anonymous and the shared memory in `/proc/PID/status`.
fn memory(status: &str) -> Option<u64> {
    let kibibytes = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name))?;
        line.trim().strip_suffix(" kB")?.parse::<u64>().ok()
    };
    Some((kibibytes("RssAnon:")? + kibibytes("RssShmem:")?) * 1024)
}

/// Returns the time of the processor in `/proc/PID/stat`: the 14th and the 15th field, in ticks.
fn cpu(stat: &str, ticks_per_second: u64) -> Option<Duration> {
    // The second field is the name of the program, which may have spaces and parentheses.
    let (_, fields) = stat.rsplit_once(") ")?;
    let mut fields = fields.split(' ').skip(11);
    let ticks: u64 = fields.next()?.parse::<u64>().ok()?.checked_add(fields.next()?.parse().ok()?)?;
    Some(Duration::from_secs_f64(ticks as f64 / ticks_per_second as f64))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        boundary::host::{HostServices, HostShared},
        isolation::host::services::Services,
    };

    #[test]
    fn i5_the_share_of_the_processor_is_measured_over_ten_seconds() {
        let (mut window, start) = (Window::default(), Instant::now());
        let mut at =
            |second: u64, cpu: u64| window.add(start + Duration::from_secs(second), Duration::from_secs(cpu));
        // A burst at the start is no share before the window is full.
        assert_eq!([at(0, 0), at(1, 4), at(9, 4)], [None, None, None]);
        assert_eq!(at(10, 4), Some(0.4));
        assert_eq!(at(11, 5), Some(0.1), "the burst has left the window");
        // A host that did not measure for a minute.
        assert_eq!(at(71, 65), Some(1.0));
    }

    #[test]
    fn the_figures_of_a_process_are_those_of_the_system() {
        let held = std::hint::black_box(vec![1_u8; 64 << 20]);
        let (memory, _) = read(std::process::id()).expect("this process");
        assert!((held.len() as u64..1 << 36).contains(&memory), "{memory}");
        let stat = "7 (a) b) S 1 2 3 4 5 6 7 8 9 10 250 50 13 14 15";
        assert_eq!(cpu(stat, 100), Some(Duration::from_secs(3)));
        assert_eq!(memory_of("RssAnon:\t      12 kB\nRssFile:\t 9 kB\nRssShmem:\t 4 kB\n"), Some(16 * 1024));
        assert_eq!(memory_of("RssAnon: 12\n"), None);
    }

    #[tokio::test]
    async fn i5_a_child_above_a_limit_is_killed_and_one_below_is_not() {
        let shared = Arc::new(HostShared {
            runtime: tokio::runtime::Handle::current(),
            http: None,
            metrics: Arc::default(),
            epoch: Instant::now(),
            mirror: None,
        });
        let start = Instant::now();
        let measured = |memory, cpu_after_ten_seconds| {
            let services =
                Services::new(HostServices::new("a", None, shared.clone()), shared.runtime.clone());
            let connection = Arc::new(Connection::new(1, services, shared.clone(), None));
            let limits = ChildLimits { memory: Some(1000), cpu: Some(0.5) };
            let meter = Meter::new(0, limits, Arc::default(), connection.clone());
            meter.take(start, memory, Duration::from_secs(1));
            meter.take(start + WINDOW, memory, Duration::from_secs(cpu_after_ten_seconds));
            let used = (meter.used.memory.load(Relaxed), meter.used.cpu_micros.load(Relaxed));
            assert_eq!(used, (memory, cpu_after_ten_seconds * 1_000_000));
            connection.condemned().map(|(reason, why)| format!("{reason}: {why}"))
        };
        assert_eq!(measured(1000, 6), None);
        let above = "memory: it used 1001 bytes of memory, and `memory` permits 1000";
        assert_eq!(measured(1001, 6).as_deref(), Some(above));
        let above = "cpu: it used 0.60 of a processor over 10s, and `cpu` permits 0.5";
        assert_eq!(measured(1000, 7).as_deref(), Some(above));
    }

    fn memory_of(status: &str) -> Option<u64> {
        super::memory(status)
    }
}
