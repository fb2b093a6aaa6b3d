//! What the chains cost: plugins that do nothing, loaded, compiled in, and as plain trait objects.
//! `cargo bench -p llmux-core --features testing --bench chain` prints the ratios first.
//!
//! The promises: loaded at most 1.25 times compiled in; at most 600 ns more than eight calls of a
//! `Box<dyn Trait>`, with timing and rollback on; at most one allocation a call; an untouched chunk passes four
//! loaded plugins in under 1 µs.

use std::{
    hint::black_box,
    path::PathBuf,
    process::Command,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use divan::{AllocProfiler, Bencher};
use futures_util::FutureExt;
use llmux_abi::prelude::*;
use llmux_core::{
    Client, Document, Endpoint, PluginSpec, Request as ClientRequest, provider::Echo, testing::Chain,
};
use tokio::runtime::Runtime;

#[global_allocator]
static ALLOC: AllocProfiler = AllocProfiler::system();

/// The compiled-in plugin that does nothing; the loaded one is `llmux-abi/examples/noop.rs`.
struct Noop;

impl Plugin for Noop {
    type Config = NoConfig;

    fn new(_: NoConfig, _: Host) -> Result<Self> {
        Ok(Self)
    }

    // Written out: a hook that is not written is not called, and costs nothing.
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

/// What a plugin system without any of it would call.
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

const BODY: &str = r#"{"model":"echo","messages":[{"role":"user","content":"hello"}]}"#;
const RESPONSE: &str = r#"{"id":"x","object":"chat.completion","choices":[{"index":0,"message":{"role":"assistant","content":"hello"},"finish_reason":"stop"}]}"#;
const CHUNK: &str = r#"{"id":"chatcmpl-9","object":"chat.completion.chunk","created":1700000000,"model":"gpt-4o-2024-08-06","service_tier":"default","system_fingerprint":"fp_44709d6fcb","choices":[{"index":0,"delta":{"content":" hello"},"logprobs":null,"finish_reason":null}],"usage":null}"#;

fn library() -> PathBuf {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let arguments = ["build", "--quiet", "--release", "-p", "llmux-abi", "--example", "noop"];
    let status = Command::new(cargo).args(arguments).status().expect("cargo runs");
    assert!(status.success(), "the loaded plugin builds");
    let name = format!("{}noop{}", std::env::consts::DLL_PREFIX, std::env::consts::DLL_SUFFIX);
    let target = std::env::var_os("CARGO_TARGET_DIR").map(PathBuf::from);
    let target = target.unwrap_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../target"));
    target.join("release/examples").join(name)
}

fn chain(runtime: &Runtime, plugins: usize, spec: impl Fn() -> PluginSpec) -> Chain {
    let client = runtime.block_on(async {
        let mut builder = Client::builder().provider("echo", Arc::new(Echo::new()), ["echo"]);
        for at in 0..plugins {
            builder = builder.plugin(spec().with_name(format!("noop-{at}")));
        }
        builder.build().await.expect("the client builds")
    });
    let request = ClientRequest::new(Endpoint::ChatCompletions, BODY).expect("a request");
    Chain::new(&client, request).expect("the pipeline is open")
}

fn loaded() -> PluginSpec {
    PluginSpec::path(library())
}

fn compiled() -> PluginSpec {
    PluginSpec::of::<Noop>("noop")
}

fn document(text: &'static str) -> Document {
    Document::parse(Bytes::from_static(text.as_bytes())).expect("JSON")
}

fn round(chain: &mut Chain, response: &Document) {
    let response = chain.run(response.clone()).now_or_never().expect("nothing waits");
    black_box(response).expect("nobody fails");
}

fn boxes() -> Vec<Box<dyn Hook>> {
    (0..4).map(|_| black_box(Box::new(Nothing) as Box<dyn Hook>)).collect()
}

fn call_boxes(hooks: &[Box<dyn Hook>], request: &mut Document, response: &mut Document) {
    for hook in hooks {
        black_box(hook.pre(request)).expect("nobody fails");
    }
    for hook in hooks.iter().rev() {
        black_box(hook.post(response)).expect("nobody fails");
    }
}

fn main() {
    let runtime = Runtime::new().expect("a runtime");
    let _runtime = runtime.enter();
    let response = document(RESPONSE);
    let (mut none, mut compiled, mut loaded) =
        (chain(&runtime, 0, compiled), chain(&runtime, 4, compiled), chain(&runtime, 4, loaded));
    let (hooks, mut request, mut answer) = (boxes(), document(BODY), document(RESPONSE));
    // In turn, so that a machine that slows down slows all of them down.
    let mut samples: [Vec<f64>; 5] = Default::default();
    for _ in 0..201 {
        samples[0].push(time(|| round(&mut none, &response)));
        samples[1].push(time(|| round(&mut compiled, &response)));
        samples[2].push(time(|| round(&mut loaded, &response)));
        samples[3].push(time(|| call_boxes(&hooks, &mut request, &mut answer)));
        samples[4].push(time(|| chunk(&mut loaded)));
    }
    let [none, compiled, loaded, boxed, chunk] = samples.map(median);
    println!("4 plugins that do nothing, pre and post chain (8 hook calls), medians:");
    println!("  no plugins        {none:8.0} ns");
    println!("  compiled in       {compiled:8.0} ns   {:.0} ns of it the 8 calls", compiled - none);
    println!("  loaded            {loaded:8.0} ns   {:.0} ns of it the 8 calls", loaded - none);
    println!("  Box<dyn Trait>    {boxed:8.0} ns");
    println!("  loaded / compiled in                {:.2}   (promised: at most 1.25)", loaded / compiled);
    println!("  loaded calls - Box<dyn Trait> calls {:.0} ns (promised: at most 600)", loaded - none - boxed);
    println!("an untouched chunk through 4 loaded plugins: {chunk:.0} ns (promised: under 1000)\n");
    divan::main();
}

fn chunk(chain: &mut Chain) {
    let chunk = chain.chunk(Bytes::from_static(CHUNK.as_bytes())).now_or_never().expect("nothing waits");
    black_box(chunk).expect("nobody fails");
}

/// Nanoseconds of one call, over a thousand.
fn time(mut call: impl FnMut()) -> f64 {
    const CALLS: u32 = 1000;
    let started = Instant::now();
    for _ in 0..CALLS {
        call();
    }
    (started.elapsed() / CALLS).max(Duration::from_nanos(1)).as_nanos() as f64
}

fn median(mut samples: Vec<f64>) -> f64 {
    samples.sort_by(f64::total_cmp);
    samples[samples.len() / 2]
}

#[divan::bench(args = ["none", "compiled", "loaded"])]
fn chains(bencher: Bencher<'_, '_>, kind: &str) {
    let runtime = Runtime::new().expect("a runtime");
    let _runtime = runtime.enter();
    let mut chain = match kind {
        "none" => chain(&runtime, 0, compiled),
        "compiled" => chain(&runtime, 4, compiled),
        _ => chain(&runtime, 4, loaded),
    };
    let response = document(RESPONSE);
    bencher.bench_local(|| round(&mut chain, &response));
}

#[divan::bench]
fn boxed_trait(bencher: Bencher<'_, '_>) {
    let (hooks, mut request, mut response) = (boxes(), document(BODY), document(RESPONSE));
    bencher.bench_local(|| call_boxes(&hooks, &mut request, &mut response));
}

#[divan::bench]
fn untouched_chunk(bencher: Bencher<'_, '_>) {
    let runtime = Runtime::new().expect("a runtime");
    let _runtime = runtime.enter();
    let mut chain = chain(&runtime, 4, loaded);
    round(&mut chain, &document(RESPONSE));
    bencher.bench_local(|| chunk(&mut chain));
}
