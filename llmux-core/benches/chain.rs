//! The cost of the chain: whole calls of a client whose provider answers at once, without plugins and with four plugins
//! that do nothing, compiled in and loaded. `cargo bench -p llmux-core --bench chain` prints a table first.
//!
//! Every call goes through `Client::send` or `Client::stream`. The difference to "no plugins" is the cost of the
//! plugins: eight hook calls for a request, 400 for a stream of 100 chunks. The difference between twelve plugins and four is
//! the cost of 16 hook calls, without what a request spends on having plugins at all. The second table shows that these 16
//! allocate nothing.
//!
//! The promises: a loaded plugin costs at most 1.25 times as much as a compiled-in one; a call with four loaded plugins,
//! timing and rollback on, costs at most 1.6 times as much as one without plugins; an untouched chunk passes four loaded
//! plugins in about 1 µs, and one hook for texts that holds nothing in at most 1.5 µs.

use std::{
    hint::black_box,
    path::PathBuf,
    sync::{Arc, LazyLock, OnceLock},
    time::Instant,
};

use bytes::Bytes;
use divan::{AllocProfiler, Bencher};
use futures_util::{StreamExt, future::BoxFuture, stream};
use llmux_abi::prelude::*;
use llmux_core::{
    Client, Document, Endpoint, PluginSpec, Request as ClientRequest,
    provider::{Answer, Call, Event, Events, Provider},
};
use llmux_testing::build::example;
use tokio::runtime::Runtime;

#[global_allocator]
static ALLOC: AllocProfiler = AllocProfiler::system();

/// Number of plugins in a chain.
const PLUGINS: usize = 4;
/// Number of plugins in a long chain.
const MANY: usize = 12;
/// Number of chunks in a stream.
const CHUNKS: usize = 100;

const BODY: &str = r#"{"model":"ready","messages":[{"role":"user","content":"hello"}]}"#;
const RESPONSE: &str = r#"{"id":"x","object":"chat.completion","choices":[{"index":0,"message":{"role":"assistant","content":"hello"},"finish_reason":"stop"}]}"#;
/// Two chunks that differ in their text.
const CHUNK_TEXTS: [&str; 2] = [" hello", " you"];
const CHUNK_START: &str = r#"{"id":"chatcmpl-9","object":"chat.completion.chunk","created":1700000000,"model":"gpt-4o-2024-08-06","service_tier":"default","system_fingerprint":"fp_44709d6fcb","choices":[{"index":0,"delta":{"content":""#;
const CHUNK_END: &str = r#""},"logprobs":null,"finish_reason":null}],"usage":null}"#;

/// A compiled-in plugin that does nothing. The loaded one is `llmux-abi/examples/noop.rs`.
struct Noop;

impl Plugin for Noop {
    type Config = NoConfig;

    fn new(_: NoConfig, _: Host) -> Result<Self> {
        Ok(Self)
    }

    // Written out: the host does not call a hook that is not written.
    async fn pre_hook(&self, _: &mut Context<'_>, _: &mut Request<'_>) -> Result<Flow> {
        Ok(Flow::Continue)
    }

    async fn post_hook(&self, _: &mut Context<'_>, _: &mut Outcome<'_>) -> Result<()> {
        Ok(())
    }

    async fn on_stream_chunk(&self, _: &mut Context<'_>, _: &mut Chunk<'_>) -> Result<ChunkFlow> {
        Ok(ChunkFlow::Forward)
    }
}

/// A compiled-in plugin that reads each text and holds nothing.
struct Reader;

impl Plugin for Reader {
    type Config = NoConfig;

    fn new(_: NoConfig, _: Host) -> Result<Self> {
        Ok(Self)
    }

    async fn on_text(&self, _: &mut Context<'_>, text: &mut Text<'_>) -> Result<TextFlow> {
        black_box(text.as_str());
        Ok(TextFlow::Continue)
    }
}

/// A compiled-in plugin that looks at each tool call. The streams have none.
struct ToolGuard;

impl Plugin for ToolGuard {
    type Config = NoConfig;

    fn new(_: NoConfig, _: Host) -> Result<Self> {
        Ok(Self)
    }

    async fn on_tool_call(&self, _: &mut Context<'_>, call: &mut ToolCall<'_>) -> Result<ToolFlow> {
        black_box(call);
        Ok(ToolFlow::Continue)
    }
}

/// A provider whose answers are ready at once.
struct Ready(Document);

impl Provider for Ready {
    fn send(&self, _: Call) -> BoxFuture<'_, std::result::Result<Answer<Document>, llmux_core::Error>> {
        Box::pin(std::future::ready(Ok(self.0.clone().into())))
    }

    fn stream(&self, _: Call) -> BoxFuture<'_, std::result::Result<Answer<Events>, llmux_core::Error>> {
        static TEXTS: LazyLock<[Bytes; 2]> =
            LazyLock::new(|| CHUNK_TEXTS.map(|text| format!("{CHUNK_START}{text}{CHUNK_END}").into()));
        let event = |at: usize| Ok(Event { name: None, data: TEXTS[at % 2].clone() });
        let events: Events = Box::pin(stream::iter(0..CHUNKS).map(event));
        Box::pin(std::future::ready(Ok(events.into())))
    }

    fn stream_usage(&self) -> bool {
        false
    }
}

/// The comparison: a plugin system with virtual calls and nothing else.
trait Hook {
    fn pre(&self, request: &mut Document) -> std::result::Result<(), String>;
    fn post(&self, response: &mut Document) -> std::result::Result<(), String>;
}

struct Nothing;

impl Hook for Nothing {
    fn pre(&self, request: &mut Document) -> std::result::Result<(), String> {
        black_box(request);
        Ok(())
    }

    fn post(&self, response: &mut Document) -> std::result::Result<(), String> {
        black_box(response);
        Ok(())
    }
}

/// Calls the pre and the post hook of each of four boxed traits.
fn call_boxes(hooks: &[Box<dyn Hook>], request: &mut Document, response: &mut Document) {
    for hook in hooks {
        black_box(hook.pre(request)).expect("no hook fails");
    }
    for hook in hooks.iter().rev() {
        black_box(hook.post(response)).expect("no hook fails");
    }
}

fn boxes() -> Vec<Box<dyn Hook>> {
    (0..PLUGINS).map(|_| black_box(Box::new(Nothing) as Box<dyn Hook>)).collect()
}

/// Builds the loaded plugin, once.
fn library() -> PathBuf {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| example("llmux-abi", "noop")).clone()
}

/// The plugins of a chain.
#[derive(Clone, Copy, Debug)]
enum Chain {
    Empty,
    CompiledIn(usize),
    Loaded(usize),
    /// One plugin with a hook for texts.
    Texts,
    /// One plugin with a hook for tool calls.
    ToolCalls,
}

const CHAINS: [Chain; 7] = [
    Chain::Empty,
    Chain::CompiledIn(PLUGINS),
    Chain::Loaded(PLUGINS),
    Chain::CompiledIn(MANY),
    Chain::Loaded(MANY),
    Chain::Texts,
    Chain::ToolCalls,
];

/// A client with a chain, and the runtime that its calls run on.
struct Bench {
    runtime: Runtime,
    client: Client,
    request: ClientRequest,
}

impl Bench {
    fn new(chain: Chain) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let response = Document::parse(RESPONSE).expect("JSON");
        let mut builder = Client::builder().provider("ready", Arc::new(Ready(response)), ["ready"]);
        let specs: Vec<PluginSpec> = match chain {
            Chain::Empty => Vec::new(),
            Chain::Texts => vec![PluginSpec::of::<Reader>("reader")],
            Chain::ToolCalls => vec![PluginSpec::of::<ToolGuard>("tool-guard")],
            Chain::CompiledIn(plugins) => {
                (0..plugins).map(|at| PluginSpec::of::<Noop>(format!("noop-{at}"))).collect()
            }
            Chain::Loaded(plugins) => {
                (0..plugins).map(|at| PluginSpec::path(library()).with_name(format!("noop-{at}"))).collect()
            }
        };
        for spec in specs {
            builder = builder.plugin(spec);
        }
        let client = runtime.block_on(builder.build()).expect("the client builds");
        let request = ClientRequest::new(Endpoint::ChatCompletions, BODY).expect("a request");
        Self { runtime, client, request }
    }

    /// Sends requests, each with whatever runs after its answer.
    fn send(&self, calls: usize) {
        self.runtime.block_on(async {
            for _ in 0..calls {
                let reply = self.client.send(self.request.clone()).await;
                black_box(reply.result).expect("an answer");
                tokio::task::yield_now().await;
            }
        });
    }

    /// Reads streams to their ends.
    fn stream(&self, calls: usize) {
        self.runtime.block_on(async {
            for _ in 0..calls {
                let reply = self.client.stream(self.request.clone()).await;
                let mut chunks = reply.result.expect("a stream");
                let mut count = 0;
                while let Some(chunk) = chunks.next().await {
                    black_box(chunk).expect("a chunk");
                    count += 1;
                }
                assert_eq!(count, CHUNKS);
                tokio::task::yield_now().await;
            }
        });
    }
}

/// Nanoseconds of one of `calls` calls.
fn time(calls: usize, work: impl FnOnce(usize)) -> f64 {
    let started = Instant::now();
    work(calls);
    started.elapsed().as_nanos() as f64 / calls as f64
}

fn median(mut samples: Vec<f64>) -> f64 {
    samples.sort_by(f64::total_cmp);
    samples[samples.len() / 2]
}

fn main() {
    // With the name of a benchmark, only that one runs.
    if std::env::args().skip(1).all(|argument| argument.starts_with('-')) {
        summary();
    }
    divan::main();
}

fn summary() {
    let benches = CHAINS.map(Bench::new);
    let (hooks, mut request, mut response) =
        (boxes(), Document::parse(BODY).expect("JSON"), Document::parse(RESPONSE).expect("JSON"));
    let mut sent: [Vec<f64>; CHAINS.len()] = Default::default();
    let mut streamed: [Vec<f64>; CHAINS.len()] = Default::default();
    let mut boxed = Vec::new();
    // In turns, so that a slow phase of the machine slows down every side.
    for _ in 0..101 {
        for (at, bench) in benches.iter().enumerate() {
            sent[at].push(time(500, |calls| bench.send(calls)));
            streamed[at].push(time(10, |calls| bench.stream(calls)));
        }
        boxed.push(time(5_000, |calls| {
            for _ in 0..calls {
                call_boxes(&hooks, &mut request, &mut response);
            }
        }));
    }
    let sent = sent.map(median);
    let streamed = streamed.map(|samples| median(samples) / CHUNKS as f64);
    let boxed = median(boxed);
    let costs = |times: [f64; CHAINS.len()]| [times[1] - times[0], times[2] - times[0]];
    let [compiled_in, loaded] = costs(sent);
    println!("one request through {PLUGINS} plugins that do nothing ({} hook calls), medians:", 2 * PLUGINS);
    println!("  no plugins             {:8.0} ns", sent[0]);
    println!("  compiled in            {:8.0} ns   plugins: {compiled_in:.0} ns", sent[1]);
    println!("  loaded                 {:8.0} ns   plugins: {loaded:.0} ns", sent[2]);
    println!("  Box<dyn Trait> alone   {boxed:8.0} ns");
    println!("  loaded / compiled in   {:8.2}      (promised: at most 1.25)", loaded / compiled_in);
    println!("  loaded / no plugins    {:8.2}      (promised: at most 1.6)", sent[2] / sent[0]);
    let per_hook = [sent[3] - sent[1], sent[4] - sent[2]].map(|cost| cost / (2 * (MANY - PLUGINS)) as f64);
    println!("one hook call, by the difference of {MANY} plugins and {PLUGINS}:");
    println!("  compiled in            {:8.0} ns", per_hook[0]);
    println!("  loaded                 {:8.0} ns", per_hook[1]);
    let [compiled_in, loaded] = costs(streamed);
    println!("one chunk of a stream of {CHUNKS}, untouched, medians:");
    println!("  no plugins             {:8.0} ns", streamed[0]);
    println!("  compiled in            {:8.0} ns   plugins: {compiled_in:.0} ns", streamed[1]);
    println!(
        "  loaded                 {:8.0} ns   plugins: {loaded:.0} ns (promised: under 1000)",
        streamed[2]
    );
    let [texts, tool_calls] = [streamed[5], streamed[6]].map(|time| time - streamed[0]);
    println!(
        "  one hook for texts     {:8.0} ns   plugin: {texts:.0} ns (promised: at most 1500)",
        streamed[5]
    );
    println!("  one for tool calls     {:8.0} ns   plugin: {tool_calls:.0} ns\n", streamed[6]);
}

#[divan::bench(args = CHAINS)]
fn request(bencher: Bencher<'_, '_>, chain: Chain) {
    let bench = Bench::new(chain);
    bencher.bench_local(|| bench.send(1));
}

#[divan::bench(args = CHAINS)]
fn stream_of_100_chunks(bencher: Bencher<'_, '_>, chain: Chain) {
    let bench = Bench::new(chain);
    bencher.bench_local(|| bench.stream(1));
}

#[divan::bench]
fn boxed_trait(bencher: Bencher<'_, '_>) {
    let (hooks, mut request, mut response) =
        (boxes(), Document::parse(BODY).expect("JSON"), Document::parse(RESPONSE).expect("JSON"));
    bencher.bench_local(|| call_boxes(&hooks, &mut request, &mut response));
}
