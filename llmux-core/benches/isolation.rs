//! The cost of isolation: hooks that do nothing, in the host and in a child process, beside their targets.
//! `cargo bench -p llmux-core --bench isolation` prints a table. This program is also the child.
//!
//! The time of the processor is that of both processes, less that of the same requests with the plugin in the host.

use std::{
    path::PathBuf,
    sync::{Arc, OnceLock},
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
use tokio::runtime::Runtime;

/// Argument of the child.
const CHILD: &str = "--child";
/// Requests, and streams, in flight at once.
const IN_FLIGHT: usize = 16;
/// Chunks of a stream.
const CHUNKS: usize = 100;

const RESPONSE: &str = r#"{"id":"x","object":"chat.completion","choices":[{"index":0,"message":{"role":"assistant","content":"hello"},"finish_reason":"stop"}]}"#;
const CHUNK: &str = r#"{"id":"chatcmpl-9","object":"chat.completion.chunk","created":1700000000,"model":"gpt-4o-2024-08-06","service_tier":"default","system_fingerprint":"fp_44709d6fcb","choices":[{"index":0,"delta":{"content":" hello"},"logprobs":null,"finish_reason":null}],"usage":null}"#;

/// A provider whose answers are ready at once.
struct Ready(Document);

impl Provider for Ready {
    fn send(&self, _: Call) -> BoxFuture<'_, Result<Answer<Document>, llmux_core::Error>> {
        Box::pin(std::future::ready(Ok(self.0.clone().into())))
    }

    fn stream(&self, _: Call) -> BoxFuture<'_, Result<Answer<Events>, llmux_core::Error>> {
        let event = || Ok(Event { name: None, data: Bytes::from_static(CHUNK.as_bytes()) });
        let events: Events = Box::pin(stream::repeat_with(event).take(CHUNKS));
        Box::pin(std::future::ready(Ok(events.into())))
    }

    fn stream_usage(&self) -> bool {
        false
    }
}

/// A client with one instance.
struct Case {
    client: Client,
    pid: Option<u32>,
}

impl Case {
    async fn new(isolation: Isolation) -> Self {
        let program = std::env::current_exe().expect("the path of this program");
        let plugins = PluginsConfig::default()
            .with_allow_insecure_permissions(true)
            .with_child(Some(ChildProgram::new(program, [CHILD])));
        let response = Document::parse(RESPONSE).expect("JSON");
        let client = Client::builder()
            .provider("ready", Arc::new(Ready(response)), ["ready"])
            .plugins(plugins)
            .plugin(PluginSpec::path(library()).with_isolation(isolation))
            .build()
            .await
            .expect("a client");
        let pid = client.plugins().list()[0].process.as_ref().and_then(|process| process.pid);
        Self { client, pid }
    }

    /// Sends requests, one after the other. Returns the 50th percentile of a pre hook in microseconds.
    async fn one_by_one(&self, size: usize, requests: usize) -> f64 {
        for _ in 0..requests {
            self.client.send(request(size)).await.result.expect("a response");
        }
        let hooks = self.client.plugins().list().remove(0).hooks;
        hooks.iter().find(|hook| hook.hook == "pre_hook").expect("it was called").p50_us
    }

    /// Sends requests, some at once. Returns the time of the processor of all processes for each.
    async fn at_once(&self, requests: usize) -> Duration {
        let send = move |client: Client| async move {
            for _ in 0..requests / IN_FLIGHT {
                client.send(request(1024)).await.result.expect("a response");
            }
        };
        self.measured(send).await / requests as u32
    }

    /// Reads streams, some at once. Returns the time of the processor of all processes for each chunk.
    async fn streams(&self, streams: usize) -> Duration {
        let read = move |client: Client| async move {
            for _ in 0..streams / IN_FLIGHT {
                let mut chunks = client.stream(request(1024)).await.result.expect("a stream");
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
        let before = self.cpu();
        let tasks = (0..IN_FLIGHT).map(|_| tokio::spawn(work(self.client.clone())));
        try_join_all(tasks).await.expect("tasks that end");
        self.cpu() - before
    }

    /// Time of the processor of this process and of the child.
    fn cpu(&self) -> Duration {
        let of = |process: String| {
            let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).expect("its figures");
            let fields: Vec<_> = stat.rsplit_once(") ").expect("fields").1.split(' ').collect();
            let ticks = [11, 12].map(|at| fields[at].parse::<u64>().expect("ticks")).iter().sum::<u64>();
            Duration::from_millis(ticks * 1000 / rustix::param::clock_ticks_per_second())
        };
        of("self".to_owned()) + self.pid.map_or(Duration::ZERO, |pid| of(pid.to_string()))
    }

    /// Anonymous memory of the child in MiB.
    fn memory(&self) -> f64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid.expect("a child")));
        let status = status.expect("its figures");
        let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).expect("its memory");
        line.trim().trim_end_matches(" kB").parse::<f64>().expect("a number") / 1024.0
    }
}

/// Returns the plugin with empty hooks. Cargo builds it at the first call.
fn library() -> PathBuf {
    static LIBRARY: OnceLock<PathBuf> = OnceLock::new();
    LIBRARY.get_or_init(|| example("llmux-abi", "noop")).clone()
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

fn request(size: usize) -> Request {
    let content = "x".repeat(size.saturating_sub(64));
    let body = format!(r#"{{"model":"ready","messages":[{{"role":"user","content":"{content}"}}]}}"#);
    Request::new(Endpoint::ChatCompletions, body).expect("a request").with_headers(headers().clone())
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
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}

fn main() {
    if std::env::args().any(|argument| argument == CHILD) {
        return llmux_core::isolation::run_child().expect("it is the child of this program");
    }
    // `cargo test --benches` only checks that it runs.
    let scale = if std::env::args().any(|argument| argument == "--bench") { 1 } else { 1000 };
    let runtime = Runtime::new().expect("a runtime");
    // As a request of a server, all runs in tasks of the runtime.
    runtime.block_on(async { tokio::spawn(print(scale)).await.expect("it ends") });
}

async fn print(scale: usize) {
    let (here, child) = (Case::new(Isolation::None).await, Case::new(Isolation::Process).await);
    let row = |what: &str, here: f64, child: f64, target: &str| {
        println!("{what:<56} {here:>9.2} {child:>9.2}  {target}");
    };
    println!("{:<56} {:>9} {:>9}  target", "", "host", "child");
    let sequential = 20_000 / scale;
    let small = [here.one_by_one(1024, sequential).await, child.one_by_one(1024, sequential).await];
    row("a pre hook, 1 KiB, p50, µs", small[0], small[1], "<= 25");
    let requests = IN_FLIGHT * 4000 / scale;
    let micros = |time: Duration| time.as_nanos() as f64 / 1000.0;
    let cpu = [here.at_once(requests).await, child.at_once(requests).await].map(micros);
    // A request calls two hooks.
    let calls = (cpu[1] - cpu[0]) / 2.0;
    row("a request with two hooks, 16 at once, CPU, µs", cpu[0], cpu[1], "");
    row("    one hook call of it", 0.0, calls, "<= 6");
    let streams = IN_FLIGHT * 40 / scale.min(40);
    let cpu = [here.streams(streams).await, child.streams(streams).await].map(micros);
    row("a chunk, 16 streams at once, CPU, µs", cpu[0], cpu[1], "");
    row("    the hook call of it", 0.0, cpu[1] - cpu[0], "<= 2");
    row("load of an isolated instance, ms", 0.0, loads(&child.client).await, "<= 15");
    row("anonymous memory of the child, MiB", 0.0, child.memory(), "<= 4");
    let (here, child) = (Case::new(Isolation::None).await, Case::new(Isolation::Process).await);
    let large =
        [here.one_by_one(256 * 1024, 2000 / scale).await, child.one_by_one(256 * 1024, 2000 / scale).await];
    row("a pre hook, 256 KiB, p50, µs", large[0], large[1], "<= 1.5 of 1 KiB, and one copy");
}
