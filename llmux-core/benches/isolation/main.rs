//! The cost of isolation: hooks that read the model, in the host and in a child process, beside their targets.
//! `cargo bench -p llmux-core --bench isolation` prints two tables. This program is also the child.
//!
//! The time of the processor is that of both processes, less that of the same requests with the plugin in the host. Most of
//! it is the system's, and differs from machine to machine. The tables therefore also have a bare round trip: a few bytes to
//! another process and back, over a socket of the same kind, with a task that reads and a channel for each trip.
//!
//! The targets come from a trial whose bare round trip took 10.5 µs, and 3.2 µs of the processor if 16 were under way. The first
//! table is made on one processor. In the second one, as on a server, a process often wakes another processor that sleeps.

mod echo;
mod figures;

use std::{
    hint::black_box,
    path::PathBuf,
    process::Command,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;
use futures_util::{
    StreamExt,
    future::{BoxFuture, try_join_all},
    stream,
};
use http::{HeaderMap, HeaderName, HeaderValue};
use llmux_core::{
    Client, Document, Endpoint, PluginSpec, Request,
    isolation::ChildProgram,
    plugins::{Isolation, PluginsConfig},
    provider::{Answer, Call, Event, Events, Provider},
};
use llmux_testing::build::example;
use tokio::{runtime::Runtime, task::yield_now};

use self::{
    echo::Echo,
    figures::{cpu, median},
};

/// As in the program `llmux`, which keeps the memory of large bodies.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// Argument of the child.
const CHILD: &str = "--child";
/// Argument of the process that makes the first table.
const ONE_PROCESSOR: &str = "--one-processor";
/// Requests, and streams, in flight at once.
const IN_FLIGHT: usize = 16;
/// Requests that are made before the first of them is sent: a child that sleeps for longer wakes more slowly.
const BATCH: usize = 50;
/// Times that each figure is taken, in turn with those that it is compared with.
const ROUNDS: usize = 5;
/// Bytes of a large body.
const LARGE: usize = 256 * 1024;
/// Chunks of a stream.
const CHUNKS: usize = 100;

const RESPONSE: &str = r#"{"id":"x","object":"chat.completion","model":"quick","choices":[{"index":0,"message":{"role":"assistant","content":"hello"},"finish_reason":"stop"}]}"#;
const CHUNK: &str = r#"{"id":"chatcmpl-9","object":"chat.completion.chunk","created":1700000000,"model":"gpt-4o-2024-08-06","service_tier":"default","system_fingerprint":"fp_44709d6fcb","choices":[{"index":0,"delta":{"content":" hello"},"logprobs":null,"finish_reason":null}],"usage":null}"#;

/// A provider that has to be waited for, as each real one, and for a short time.
struct Quick {
    response: Document,
    /// Time at which it was called last, in nanoseconds since `epoch`.
    called: Arc<AtomicU64>,
    epoch: Instant,
}

impl Provider for Quick {
    fn send(&self, _: Call) -> BoxFuture<'_, Result<Answer<Document>, llmux_core::Error>> {
        self.called.store(self.epoch.elapsed().as_nanos() as u64, Relaxed);
        Box::pin(async {
            yield_now().await;
            Ok(self.response.clone().into())
        })
    }

    fn stream(&self, _: Call) -> BoxFuture<'_, Result<Answer<Events>, llmux_core::Error>> {
        let event = || Ok(Event { name: None, data: Bytes::from_static(CHUNK.as_bytes()) });
        let events: Events = Box::pin(stream::repeat_with(event).take(CHUNKS));
        Box::pin(async {
            yield_now().await;
            Ok(events.into())
        })
    }

    fn stream_usage(&self) -> bool {
        false
    }
}

/// A client with one instance.
struct Case {
    client: Client,
    pid: Option<u32>,
    /// As in [`Quick`].
    called: Arc<AtomicU64>,
    epoch: Instant,
}

impl Case {
    async fn new(isolation: Isolation) -> Self {
        let program = std::env::current_exe().expect("the path of this program");
        let plugins = PluginsConfig::default()
            .with_allow_insecure_permissions(true)
            .with_child(Some(ChildProgram::new(program, [CHILD])));
        let response = Document::parse(RESPONSE).expect("JSON");
        let (called, epoch) = (Arc::new(AtomicU64::new(0)), Instant::now());
        let provider = Quick { response, called: called.clone(), epoch };
        let client = Client::builder()
            .provider("quick", Arc::new(provider), ["quick"])
            .plugins(plugins)
            .plugin(PluginSpec::path(library()).with_isolation(isolation))
            .build()
            .await
            .expect("a client");
        let pid = client.plugins().list()[0].process.as_ref().and_then(|process| process.pid);
        Self { client, pid, called, epoch }
    }

    /// Sends requests, one after the other. Returns the median of the times until the provider is called, in microseconds:
    /// that of the pre hook, and what comes before it.
    async fn one_by_one(&self, size: usize, requests: usize) -> f64 {
        let mut times = Vec::new();
        while times.len() < requests {
            let some: Vec<_> = (0..BATCH).map(|_| request(&body(size))).collect();
            for request in some {
                let start = self.epoch.elapsed().as_nanos() as u64;
                self.client.send(request).await.result.expect("a response");
                times.push((self.called.load(Relaxed) - start) as f64 / 1000.0);
            }
        }
        median(times)
    }

    /// Copies bodies before their requests are sent, into memory that is used again and again. Returns the median of the times
    /// of a copy in microseconds.
    async fn copies(&self, size: usize, requests: usize) -> f64 {
        let (mut memory, mut times) = (vec![0; size], Vec::new());
        while times.len() < requests {
            let some: Vec<_> = (0..BATCH).map(|_| body(size)).map(|body| (request(&body), body)).collect();
            for (request, body) in some {
                let start = Instant::now();
                memory[..body.len()].copy_from_slice(black_box(&body));
                black_box(&mut memory);
                times.push(start.elapsed().as_nanos() as f64 / 1000.0);
                self.client.send(request).await.result.expect("a response");
            }
        }
        median(times)
    }

    /// Sends requests, some at once. Returns the time of the processor of all processes for each.
    async fn at_once(&self, requests: usize) -> Duration {
        let send = move |client: Client| async move {
            for _ in 0..requests / IN_FLIGHT {
                client.send(request(&body(1024))).await.result.expect("a response");
            }
        };
        self.measured(send).await / requests as u32
    }

    /// Reads streams, some at once. Returns the time of the processor of all processes for each chunk.
    async fn streams(&self, streams: usize) -> Duration {
        let read = move |client: Client| async move {
            for _ in 0..streams / IN_FLIGHT {
                let mut chunks = client.stream(request(&body(1024))).await.result.expect("a stream");
                while let Some(chunk) = chunks.next().await {
                    chunk.expect("a chunk");
                }
            }
        };
        self.measured(read).await / (streams * CHUNKS) as u32
    }

    /// Runs some tasks at once, as a server does, and returns their time of the processor.
    async fn measured<W: Future<Output = ()> + Send + 'static>(
        &self,
        work: impl Fn(Client) -> W,
    ) -> Duration {
        let before = cpu(self.pid);
        let tasks = (0..IN_FLIGHT).map(|_| tokio::spawn(work(self.client.clone())));
        try_join_all(tasks).await.expect("tasks that end");
        cpu(self.pid) - before
    }

    /// Anonymous memory of the child in MiB.
    fn memory(&self) -> f64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid.expect("a child")));
        let status = status.expect("its figures");
        let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).expect("its memory");
        line.trim().trim_end_matches(" kB").parse::<f64>().expect("a number") / 1024.0
    }
}

/// Returns the plugin. Cargo builds it at the first call.
fn library() -> PathBuf {
    static LIBRARY: OnceLock<PathBuf> = OnceLock::new();
    LIBRARY.get_or_init(|| example("llmux-core", "model_reader")).clone()
}

/// Returns as many headers as a client of a language model sends.
fn headers() -> &'static HeaderMap {
    static HEADERS: OnceLock<HeaderMap> = OnceLock::new();
    HEADERS.get_or_init(|| {
        [
            ("accept", "application/json"),
            ("accept-encoding", "gzip, deflate"),
            ("accept-language", "en"),
            ("connection", "keep-alive"),
            ("content-length", "1024"),
            ("content-type", "application/json"),
            ("host", "llm.example.com"),
            ("user-agent", "OpenAI/Python 2.8.1"),
            ("x-forwarded-for", "203.0.113.7"),
            ("x-forwarded-proto", "https"),
            ("x-stainless-lang", "python"),
            ("x-stainless-package-version", "2.8.1"),
        ]
        .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)))
        .into_iter()
        .collect()
    })
}

/// Returns the body of a request, of about this size.
fn body(size: usize) -> Bytes {
    let content = "x".repeat(size.saturating_sub(64));
    format!(r#"{{"model":"quick","messages":[{{"role":"user","content":"{content}"}}]}}"#).into()
}

fn request(body: &Bytes) -> Request {
    Request::new(Endpoint::ChatCompletions, body.clone()).expect("a request").with_headers(headers().clone())
}

/// Loads and unloads an isolated instance. Returns the median of the times of the loads in milliseconds.
async fn loads(client: &Client) -> f64 {
    let mut times = Vec::new();
    for _ in 0..21 {
        let start = Instant::now();
        let spec = PluginSpec::path(library()).with_name("another").with_isolation(Isolation::Process);
        client.plugins().load(spec).await.expect("loaded");
        times.push(start.elapsed().as_secs_f64() * 1000.0);
        client.plugins().unload("another").await.expect("unloaded");
    }
    median(times)
}

fn main() {
    if std::env::args().any(|argument| argument == CHILD) {
        return llmux_core::isolation::run_child().expect("it is the child of this program");
    }
    if std::env::args().any(|argument| argument == Echo::ARGUMENT) {
        return Echo::run();
    }
    let is_pinned = std::env::args().any(|argument| argument == ONE_PROCESSOR);
    if is_pinned {
        use_one_processor();
    } else {
        let program = std::env::current_exe().expect("the path of this program");
        let mut pinned = Command::new(program);
        let status = pinned.args(std::env::args().skip(1)).arg(ONE_PROCESSOR).status();
        assert!(status.expect("a process").success(), "the bench on one processor fails");
    }
    println!("{}", if is_pinned { "On one processor" } else { "\nOn all processors" });
    // `cargo test --benches` only checks that it runs.
    let scale = if std::env::args().any(|argument| argument == "--bench") { 1 } else { 1000 };
    let runtime = Runtime::new().expect("a runtime");
    // As a request of a server, all runs in tasks of the runtime.
    runtime.block_on(async { tokio::spawn(print(scale)).await.expect("it ends") });
}

/// Lets this process, and those that it starts, run on one processor. Children exist on Linux only.
#[cfg(target_os = "linux")]
fn use_one_processor() {
    use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

    let allowed = sched_getaffinity(None).expect("the processors of this process");
    let last = (0..CpuSet::MAX_CPU).rev().find(|cpu| allowed.is_set(*cpu)).expect("a processor");
    let mut one = CpuSet::new();
    one.set(last);
    sched_setaffinity(None, &one).expect("a processor of this process");
}

#[cfg(not(target_os = "linux"))]
fn use_one_processor() {}

async fn print(scale: usize) {
    let (here, child) = (Case::new(Isolation::None).await, Case::new(Isolation::Process).await);
    // Others for large bodies, which need memory.
    let large = [Case::new(Isolation::None).await, Case::new(Isolation::Process).await];
    let row = |what: &str, here: f64, child: f64, bare: f64, target: &str| {
        let trips = if bare > 0.0 { format!("{:.2}", child / bare) } else { String::new() };
        println!("{what:<50} {here:>9.2} {child:>9.2} {trips:>9}  {target}");
    };
    let micros = |time: Duration| time.as_nanos() as f64 / 1000.0;
    println!("{:<50} {:>9} {:>9} {:>9}  target", "", "host", "child", "in trips");
    let echo = Echo::start().await;
    let (sequential, requests, streams) =
        (4000 / scale, IN_FLIGHT * 4000 / scale, IN_FLIGHT * 40 / scale.min(40));
    let large_requests = 1000 / scale;
    // For each of them: a bare round trip, the plugin in the host, the plugin in the child.
    let (mut waits, mut calls, mut chunks) = <([Vec<_>; 3], [Vec<_>; 3], [Vec<_>; 2])>::default();
    let (mut large_waits, mut copies) = <([Vec<_>; 2], Vec<_>)>::default();
    for _ in 0..ROUNDS {
        waits[0].push(echo.one_by_one(sequential).await);
        calls[0].push(micros(echo.at_once(requests, IN_FLIGHT).await));
        for (at, case) in [&here, &child].into_iter().enumerate() {
            waits[at + 1].push(case.one_by_one(1024, sequential).await);
            calls[at + 1].push(micros(case.at_once(requests).await));
            chunks[at].push(micros(case.streams(streams).await));
            large_waits[at].push(large[at].one_by_one(LARGE, large_requests).await);
        }
        copies.push(large[0].copies(LARGE, large_requests).await);
    }
    let [trip, host, hook] = waits.map(median);
    row("a bare round trip, p50, µs", 0.0, trip, trip, "");
    row("a request of 1 KiB until its provider, p50, µs", host, hook, 0.0, "");
    let hook = hook - host;
    row("    the pre hook of it", 0.0, hook, trip, "<= 25, or 2.4 trips");
    let [cpu_trip, host, child_cpu] = calls.map(median);
    row("a bare round trip, 16 at once, CPU, µs", 0.0, cpu_trip, cpu_trip, "");
    row("a request with two hooks, 16 at once, CPU, µs", host, child_cpu, 0.0, "");
    let call = (child_cpu - host) / 2.0;
    row("    one hook call of it", 0.0, call, cpu_trip, "<= 6, or 1.9 trips");
    let [host, child_cpu] = chunks.map(median);
    row("a chunk, 16 streams at once, CPU, µs", host, child_cpu, 0.0, "");
    row("    the hook call of it", 0.0, child_cpu - host, cpu_trip, "<= 2, or 0.63 trips");
    row("load of an isolated instance, ms", 0.0, loads(&child.client).await, 0.0, "<= 15");
    row("anonymous memory of the child, MiB", 0.0, child.memory(), 0.0, "<= 4");
    let ([host, child], copy) = (large_waits.map(median), median(copies));
    row("a request of 256 KiB until its provider, p50, µs", host, child, 0.0, "");
    let target = format!("<= {:.1}: 1.5 of 1 KiB, and one copy", 1.5 * hook + copy);
    row("    the pre hook of it", 0.0, child - host, trip, &target);
}
