//! The cost of the built-in plugins: whole calls of a client whose provider answers at once, with all four plugins and
//! with none, next to the bare crates that they use. `cargo bench -p llmux-builtin-tests` prints a table first.
//!
//! Every call goes through `Client::send`. The table has the time that the caller waits, and the time of the whole call
//! with `on_complete`, for which no caller waits. The difference to "no plugins" is the cost of the plugins. A rejection and
//! a hit do not reach the provider. The benchmarks below the table measure whole calls.
//!
//! The promises, on one core, for the chain of all four, are of the caller's wait: a rejection costs less than 10 µs, a hit
//! on an answer of 2 KB less than 15 µs, a miss less than 35 µs. Log events are formatted and discarded.

use std::{
    hint::black_box,
    num::NonZeroU32,
    sync::Arc,
    time::{Duration, Instant},
};

use divan::Bencher;
use futures_util::future::{BoxFuture, ready};
use governor::{Quota, RateLimiter};
use llmux_builtin_tests::{Builtin, Kind};
use llmux_core::{
    Client, Document, Endpoint, Error, Request,
    pipeline::Identity,
    plugins::PluginsConfig,
    provider::{Answer, Call, Events, Provider},
};
use serde_json::{Value, json};
use tokio::runtime::Runtime;

/// The result of the requests of a bench.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Case {
    Rejected,
    Hit,
    Miss,
}

const CASES: [Case; 3] = [Case::Rejected, Case::Hit, Case::Miss];

/// A provider whose answer is ready at once.
struct Ready(Document);

impl Provider for Ready {
    fn send(&self, _: Call) -> BoxFuture<'_, Result<Answer<Document>, Error>> {
        Box::pin(ready(Ok(self.0.clone().into())))
    }

    fn stream(&self, _: Call) -> BoxFuture<'_, Result<Answer<Events>, Error>> {
        unreachable!("no request streams")
    }
}

/// Returns the configuration of a plugin for a case in which no other plugin refuses or answers.
fn config(plugin: Builtin, case: Case) -> Value {
    match plugin {
        Builtin::RateLimit if case == Case::Rejected => {
            json!({"requests_per_second": 0.000_001, "burst": 1})
        }
        Builtin::RateLimit => json!({"requests_per_second": 1e6, "burst": 4_000_000_000_u32}),
        _ => json!({}),
    }
}

/// Returns a chat request of about 600 bytes. Requests with different numbers differ.
fn request(number: u64) -> Request {
    let text = format!(
        r#"{{"model":"ready","temperature":0.7,"max_tokens":256,"messages":[{{"role":"system","content":"{}"}},{{"role":"user","content":"{number:08}{}"}}]}}"#,
        "You are a helpful assistant that answers in one sentence. ".repeat(4),
        "x".repeat(192),
    );
    let identity = Identity { key_id: "key-1".to_owned(), ..Identity::default() };
    let request = Request::new(Endpoint::ChatCompletions, text).expect("a request");
    request.with_identity(Some(Arc::new(identity)))
}

/// Returns an answer of 2 KB.
fn answer() -> Document {
    Document::from_value(&json!({
        "id": "x", "object": "chat.completion", "created": 1, "model": "ready",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": "y".repeat(1_800)}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7},
    }))
}

/// A client with plugins, in a case, and the runtime that its calls run on.
struct Bench {
    runtime: Runtime,
    client: Client,
    case: Case,
    /// The requests to send: the same one again and again, or a new one for each miss.
    sent: u64,
    request: Request,
}

impl Bench {
    fn new(kind: Kind, plugins: &[Builtin], case: Case) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let client = runtime.block_on(async {
            let settings = PluginsConfig::default().with_allow_insecure_permissions(true);
            let mut builder =
                Client::builder().provider("ready", Arc::new(Ready(answer())), ["ready"]).plugins(settings);
            for plugin in plugins {
                builder = builder.plugin(plugin.spec(kind, config(*plugin, case)));
            }
            builder.build().await.expect("a client")
        });
        let mut bench = Self { runtime, client, case, sent: 0, request: request(0) };
        if case != Case::Miss {
            // The first request uses up the limit, or its answer is stored.
            bench.send(1);
            bench.runtime.block_on(async { tokio::time::sleep(Duration::from_millis(50)).await });
        }
        bench.check(plugins);
        bench
    }

    /// Checks that a request has the result of the case.
    fn check(&mut self, plugins: &[Builtin]) {
        let number = if self.case == Case::Miss { u64::MAX } else { 0 };
        let reply = self.runtime.block_on(self.client.send(request(number)));
        let is_cached = reply.headers().iter().any(|(name, value)| name == "x-cache" && value == "hit");
        match self.case {
            Case::Rejected => assert_eq!(reply.result.expect_err("rejected").status(), 429),
            Case::Hit => assert!(is_cached || !plugins.contains(&Builtin::Cache), "{:?}", reply.headers()),
            Case::Miss => assert!(!is_cached && reply.result.is_ok(), "{:?}", reply.headers()),
        }
    }

    /// Sends requests, and returns the time for which their caller waited. `on_complete` of each runs before the next one.
    fn send(&mut self, calls: u64) -> Duration {
        let first = self.sent;
        self.sent += calls;
        self.runtime.block_on(async {
            let mut waited = Duration::ZERO;
            for number in first..first + calls {
                let request = if self.case == Case::Miss { request(number) } else { self.request.clone() };
                let started = Instant::now();
                let _ = black_box(self.client.send(request).await);
                waited += started.elapsed();
                tokio::task::yield_now().await;
            }
            waited
        })
    }
}

/// Returns the average nanoseconds of one of `calls` calls: the caller's wait, and the whole.
fn time(calls: u64, work: impl FnOnce(u64) -> Duration) -> [f64; 2] {
    let started = Instant::now();
    let waited = work(calls);
    [waited, started.elapsed()].map(|time| time.as_nanos() as f64 / calls as f64)
}

fn median(mut samples: Vec<f64>) -> f64 {
    samples.sort_by(f64::total_cmp);
    samples[samples.len() / 2]
}

/// Returns a check of the bare limiter whose limit is used up: every check is a rejection.
fn bare_limiter() -> impl Fn() {
    let quota = Quota::with_period(Duration::from_secs(1_000_000)).expect("a period");
    let limiter = RateLimiter::hashmap(quota.allow_burst(NonZeroU32::MIN));
    let _ = limiter.check_key(&"key-1".to_owned());
    let key = "key-1".to_owned();
    move || {
        let _ = black_box(limiter.check_key(black_box(&key)));
    }
}

/// Returns a lookup in the bare cache with one answer: every lookup is a hit.
fn bare_cache() -> impl Fn() {
    let cache = moka::sync::Cache::<[u8; 32], Arc<str>>::new(10_000);
    cache.insert([7; 32], "y".repeat(2_000).into());
    move || drop(black_box(cache.get(black_box(&[7; 32]))))
}

fn main() {
    tracing_subscriber::fmt().with_writer(std::io::sink).init();
    // With the name of a benchmark, only that one runs.
    if std::env::args().skip(1).all(|argument| argument.starts_with('-')) {
        summary();
    }
    divan::main();
}

/// One line of the table: its name, the line whose time is subtracted, and the work.
struct Row {
    name: String,
    base: Option<usize>,
    calls: u64,
    /// Makes calls, and returns the time for which their caller waited.
    work: Box<dyn FnMut(u64) -> Duration>,
}

impl Row {
    fn new(
        name: impl Into<String>,
        base: Option<usize>,
        calls: u64,
        work: impl FnMut(u64) -> Duration + 'static,
    ) -> Self {
        Self { name: name.into(), base, calls, work: Box::new(work) }
    }

    fn bench(name: impl Into<String>, base: Option<usize>, mut bench: Bench) -> Self {
        Self::new(name, base, 200, move |calls| bench.send(calls))
    }
}

fn summary() {
    let (limiter, cache) = (bare_limiter(), bare_cache());
    let repeat = |call: Box<dyn Fn()>| {
        move |calls| {
            let started = Instant::now();
            (0..calls).for_each(|_| call());
            started.elapsed()
        }
    };
    let mut rows = vec![
        Row::new("bare governor, a rejection", None, 5_000, repeat(Box::new(limiter))),
        Row::new("bare moka, a hit", None, 5_000, repeat(Box::new(cache))),
        Row::bench("no plugins, one request", None, Bench::new(Kind::Compiled, &[], Case::Hit)),
        Row::bench("no plugins, new requests", None, Bench::new(Kind::Compiled, &[], Case::Miss)),
    ];
    for kind in [Kind::Compiled, Kind::Loaded] {
        for (case, promise, base) in [(Case::Rejected, 10, 2), (Case::Hit, 15, 2), (Case::Miss, 35, 3)] {
            let name = format!("all four {kind:?}, {case:?} (promised: under {promise} µs)");
            rows.push(Row::bench(name, Some(base), Bench::new(kind, &Builtin::ALL, case)));
        }
    }
    // The rows run in turns, so that a slow phase of the machine slows down all of them.
    let mut samples = vec![[Vec::new(), Vec::new()]; rows.len()];
    for _ in 0..51 {
        for (samples, row) in samples.iter_mut().zip(&mut rows) {
            for (samples, time) in samples.iter_mut().zip(time(row.calls, &mut row.work)) {
                samples.push(time);
            }
        }
    }
    let medians: Vec<[f64; 2]> = samples.into_iter().map(|samples| samples.map(median)).collect();
    println!("medians in nanoseconds, each with its difference to no plugins:");
    println!("  the caller's wait      whole call");
    for (row, found) in rows.iter().zip(&medians) {
        let difference = |at: usize| row.base.map(|base| format!("{:+8.0}", found[at] - medians[base][at]));
        let [wait, whole] =
            [0, 1].map(|at| format!("{:8.0} {:>8}", found[at], difference(at).unwrap_or_default()));
        println!("  {wait}  {whole}  {}", row.name);
    }
    println!();
}

#[divan::bench(args = [Builtin::RateLimit, Builtin::Cache, Builtin::Metrics, Builtin::Logging], consts = [false, true])]
fn alone<const LOADED: bool>(bencher: Bencher<'_, '_>, plugin: Builtin) {
    let kind = if LOADED { Kind::Loaded } else { Kind::Compiled };
    let mut bench = Bench::new(kind, &[plugin], Case::Miss);
    bencher.bench_local(|| bench.send(1));
}

#[divan::bench(args = CASES, consts = [false, true])]
fn all_four<const LOADED: bool>(bencher: Bencher<'_, '_>, case: Case) {
    let kind = if LOADED { Kind::Loaded } else { Kind::Compiled };
    let mut bench = Bench::new(kind, &Builtin::ALL, case);
    bencher.bench_local(|| bench.send(1));
}

#[divan::bench]
fn no_plugins(bencher: Bencher<'_, '_>) {
    let mut bench = Bench::new(Kind::Compiled, &[], Case::Miss);
    bencher.bench_local(|| bench.send(1));
}

#[divan::bench]
fn governor_rejection(bencher: Bencher<'_, '_>) {
    bencher.bench_local(bare_limiter());
}

#[divan::bench]
fn moka_hit(bencher: Bencher<'_, '_>) {
    bencher.bench_local(bare_cache());
}
