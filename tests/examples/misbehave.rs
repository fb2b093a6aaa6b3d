//! A soak test of containment: a running `llmux` serves ordinary requests, while instances of the fixture `misbehaving`
//! are loaded, misbehave in a random mode, and are unloaded.
//!
//! Prints a line a minute, and the latencies of the ordinary requests at the end. Fails if one of them is not answered,
//! or if a mode has another outcome than its table says.
//!
//! `cargo run --release -p llmux-tests --example misbehave -- [minutes] [seed]`
//!
//! With `each` and a number of seconds, every mode is used alone for that time, one after the other, and a line for each shows
//! the latencies of the ordinary requests beside it.
//!
//! `cargo run --release -p llmux-tests --example misbehave -- each [seconds]`

#[path = "../tests/misbehaving/host.rs"]
mod host;
#[path = "../tests/misbehaving/modes.rs"]
#[allow(dead_code, reason = "only the test looks at how long a mode lasts")]
mod modes;
#[path = "../tests/misbehaving/requests.rs"]
mod requests;

use std::{
    collections::BTreeMap,
    process::ExitCode,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use hdrhistogram::Histogram;

use self::{
    host::{Host, Program},
    modes::{MODES, Mode, When},
    requests::{body, other},
};

/// Ordinary requests that are under way at any time.
const CLIENTS: usize = 4;
/// Instances that misbehave at any time. A mode may hold a thread, and the program has four workers at least.
const INSTANCES: usize = 2;

/// Result of the soak so far.
struct Figures {
    /// Microseconds of the ordinary requests, plain and streaming.
    latencies: [Histogram<u64>; 2],
    /// Outcomes of ordinary requests that were not answered.
    failed: BTreeMap<String, u64>,
    /// Modes with another outcome than expected.
    unexpected: BTreeMap<String, u64>,
    modes: u64,
}

type Shared = Arc<Mutex<Figures>>;

fn note(figures: &Shared, change: impl FnOnce(&mut Figures)) {
    change(&mut figures.lock().unwrap_or_else(PoisonError::into_inner));
}

/// Sends ordinary requests until the end.
async fn ask(host: Arc<Program>, figures: Shared, end: Instant) {
    while Instant::now() < end {
        for stream in [false, true] {
            let started = Instant::now();
            let outcome = host.ask(&other(), stream).await;
            let micros = started.elapsed().as_micros() as u64;
            let expected = if stream { "200 done" } else { "200" };
            note(&figures, |figures| {
                figures.latencies[usize::from(stream)].saturating_record(micros);
                if outcome != expected {
                    *figures.failed.entry(outcome).or_default() += 1;
                }
            });
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

/// Loads, uses and unloads instances, each in the mode that is chosen for it, until the end.
async fn misbehave(
    host: Arc<Program>,
    figures: Shared,
    end: Instant,
    number: usize,
    mut choose: impl FnMut() -> &'static Mode,
) {
    while Instant::now() < end {
        let mode = choose();
        // Two instances may be in one mode.
        let instance = format!("{}-{number}", mode.name.replace('_', "-"));
        let outcome = match (host.load_as(&instance, mode.name).await, &mode.when) {
            (Err(why), When::Refused(expected)) => (!why.contains(expected)).then_some(why),
            (Err(why), _) => Some(why),
            (Ok(()), When::Refused(_)) => Some("not refused".to_owned()),
            (Ok(()), When::Life) => None,
            (Ok(()), When::Plain(expected)) => unlike(host.ask(&body(mode.name), false).await, expected),
            (Ok(()), When::Stream(expected)) => unlike(host.ask(&body(mode.name), true).await, expected),
        };
        let is_gone = matches!(mode.when, When::Refused(_)) || host.unload(&instance).await;
        note(&figures, |figures| {
            figures.modes += 1;
            if let Some(outcome) = outcome {
                *figures.unexpected.entry(format!("{}: {outcome}", mode.name)).or_default() += 1;
            }
            if !is_gone {
                *figures.unexpected.entry(format!("{}: not unloaded", mode.name)).or_default() += 1;
            }
        });
    }
}

fn unlike(outcome: String, expected: &str) -> Option<String> {
    (outcome != expected).then_some(outcome)
}

/// Returns the resident memory, in KiB, and the number of threads and of open files of a process.
fn resources(pid: u32) -> (u64, u64, usize) {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let number = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default();
        line.split_whitespace().next().and_then(|number| number.parse().ok()).unwrap_or_default()
    };
    let files = std::fs::read_dir(format!("/proc/{pid}/fd")).map_or(0, Iterator::count);
    (number("VmRSS:"), number("Threads:"), files)
}

fn no_figures() -> Shared {
    let histogram = || Histogram::new_with_bounds(1, 600_000_000, 3).expect("bounds");
    Arc::new(Mutex::new(Figures {
        latencies: [histogram(), histogram()],
        failed: BTreeMap::new(),
        unexpected: BTreeMap::new(),
        modes: 0,
    }))
}

/// Uses each mode alone for a time, and prints a line for it.
async fn each(host: &Arc<Program>, time: Duration) -> ExitCode {
    println!("{:50}  requests  p50 ms  p99 ms  max ms  failed  unexpected", "mode");
    let mut all_well = true;
    for mode in MODES {
        let (figures, end) = (no_figures(), Instant::now() + time);
        let mut tasks = tokio::task::JoinSet::new();
        for _ in 0..CLIENTS {
            tasks.spawn(ask(host.clone(), figures.clone(), end));
        }
        tasks.spawn(misbehave(host.clone(), figures.clone(), end, 0, move || mode));
        tasks.join_all().await;
        let figures = figures.lock().unwrap_or_else(PoisonError::into_inner);
        let mut latencies = figures.latencies[0].clone();
        latencies.add(&figures.latencies[1]).expect("of the same bounds");
        let at = |quantile| latencies.value_at_quantile(quantile) as f64 / 1e3;
        println!(
            "{:50}  {:8}  {:6.1}  {:6.1}  {:6.1}  {:6}  {:10}",
            mode.name,
            latencies.len(),
            at(0.5),
            at(0.99),
            latencies.max() as f64 / 1e3,
            figures.failed.values().sum::<u64>(),
            figures.unexpected.values().sum::<u64>(),
        );
        all_well &= figures.failed.is_empty() && figures.unexpected.is_empty();
    }
    if all_well { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

#[tokio::main]
async fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let is_each = arguments.first().is_some_and(|argument| argument == "each");
    let numbers = arguments.iter().skip(usize::from(is_each));
    let mut numbers = numbers.map(|argument| argument.parse::<u64>().expect("a number"));
    let host = Arc::new(Program::start().await);
    // As long as it lives, every other instance uses its image. Without it, most loads would retire one image.
    host.load_as("stays", "none").await.expect("an instance that does nothing");
    if is_each {
        return each(&host, Duration::from_secs(numbers.next().unwrap_or(5))).await;
    }
    soak(host, numbers.next().unwrap_or(60), numbers.next().unwrap_or(1)).await
}

async fn soak(host: Arc<Program>, minutes: u64, seed: u64) -> ExitCode {
    let figures = no_figures();
    let pid = host.0.child.id().expect("it runs");
    let end = Instant::now() + Duration::from_secs(60 * minutes);
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..CLIENTS {
        tasks.spawn(ask(host.clone(), figures.clone(), end));
    }
    for number in 0..INSTANCES {
        let mut random = fastrand::Rng::with_seed(seed + number as u64);
        let choose = move || &MODES[random.usize(..MODES.len())];
        tasks.spawn(misbehave(host.clone(), figures.clone(), end, number, choose));
    }
    println!("minute  requests  failed  modes  unexpected  resident MiB  threads  files");
    let report = |minute: u64| {
        let figures = figures.lock().unwrap_or_else(PoisonError::into_inner);
        let (resident, threads, files) = resources(pid);
        println!(
            "{minute:6}  {:8}  {:6}  {:5}  {:10}  {:12}  {threads:7}  {files:5}",
            figures.latencies.iter().map(Histogram::len).sum::<u64>(),
            figures.failed.values().sum::<u64>(),
            figures.modes,
            figures.unexpected.values().sum::<u64>(),
            resident / 1024,
        );
    };
    let mut minute = 0;
    let mut minutes = tokio::time::interval(Duration::from_secs(60));
    loop {
        tokio::select! {
            task = tasks.join_next() => match task {
                Some(task) => task.expect("no panic here"),
                None => break,
            },
            _ = minutes.tick() => {
                report(minute);
                minute += 1;
            }
        }
    }
    report(minute);
    let host = Arc::into_inner(host).expect("every task has ended");
    let leaked = host.metrics().await.contains("misbehaving_leaked_total");
    assert!(!leaked, "a refused instance leaves no metric");
    host.end().await;
    let figures = figures.lock().unwrap_or_else(PoisonError::into_inner);
    for (kind, latencies) in ["plain", "stream"].iter().zip(&figures.latencies) {
        let at = |quantile| latencies.value_at_quantile(quantile) as f64 / 1e3;
        println!(
            "{kind}: {} requests, ms: p50 {:.1}, p99 {:.1}, p99.9 {:.1}, max {:.1}",
            latencies.len(),
            at(0.5),
            at(0.99),
            at(0.999),
            latencies.max() as f64 / 1e3
        );
    }
    println!("not answered: {:?}", figures.failed);
    println!("unexpected: {:#?}", figures.unexpected);
    match figures.failed.is_empty() && figures.unexpected.is_empty() {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    }
}
