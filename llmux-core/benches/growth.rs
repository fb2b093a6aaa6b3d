//! The cost of a request beside things that accumulate: instances without a hook of the request, retired images, and
//! loaded plugins with empty hooks. `cargo bench -p llmux-core --bench growth` prints the table.
//!
//! Whole calls of a client whose provider answers at once. The promises: a request costs the same with 64 instances that have
//! no hook of it, and after 64 reloads; it costs as much more for each plugin of 64 as for each of four.

use std::{hint::black_box, path::PathBuf, sync::Arc, time::Instant};

use futures_util::future::{BoxFuture, ready};
use llmux_abi::prelude::*;
use llmux_core::{
    Client, Document, Endpoint, PluginSpec, Request as ClientRequest,
    plugins::Change,
    provider::{Answer, Call, Events, Provider},
};
use llmux_testing::build::example;
use tokio::runtime::Runtime;

const BODY: &str = r#"{"model":"ready","messages":[{"role":"user","content":"hello"}]}"#;
const RESPONSE: &str = r#"{"id":"x","object":"chat.completion","choices":[{"index":0,"message":{"role":"assistant","content":"hello"},"finish_reason":"stop"}]}"#;

/// Number of instances, or of reloads, that must not cost anything.
const MANY: usize = 64;
/// Numbers of loaded plugins.
const LOADED: [usize; 4] = [1, 4, 16, 64];

/// A plugin that has no hook of a plain request.
struct ChunksOnly;

impl Plugin for ChunksOnly {
    type Config = NoConfig;

    fn new(_: NoConfig, _: Host) -> Result<Self> {
        Ok(Self)
    }

    async fn on_stream_chunk(&self, _: &mut Context<'_>, _: &mut Chunk<'_>) -> Result<ChunkFlow> {
        Ok(ChunkFlow::Forward)
    }
}

/// A provider whose answer is ready at once.
struct Ready(Document);

impl Provider for Ready {
    fn send(&self, _: Call) -> BoxFuture<'_, std::result::Result<Answer<Document>, llmux_core::Error>> {
        Box::pin(ready(Ok(self.0.clone().into())))
    }

    fn stream(&self, _: Call) -> BoxFuture<'_, std::result::Result<Answer<Events>, llmux_core::Error>> {
        unreachable!("no request streams")
    }
}

/// A client, and the runtime that its calls run on.
struct Bench {
    runtime: Runtime,
    client: Client,
    request: ClientRequest,
}

impl Bench {
    fn new(specs: impl IntoIterator<Item = PluginSpec>) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let provider = Arc::new(Ready(Document::parse(RESPONSE).expect("JSON")));
        let builder = Client::builder().provider("ready", provider, ["ready"]);
        let builder = specs.into_iter().fold(builder, |builder, spec| builder.plugin(spec));
        let client = runtime.block_on(builder.build()).expect("the client builds");
        let request = ClientRequest::new(Endpoint::ChatCompletions, BODY).expect("a request");
        Self { runtime, client, request }
    }

    /// Reloads the plugin `noop-0`. Each reload retires an image.
    fn reload(self, times: usize) -> Self {
        self.runtime.block_on(async {
            for _ in 0..times {
                self.client.plugins().change(vec![Change::Reload("noop-0".into())]).await.expect("reloaded");
            }
        });
        // The last one may still be drained.
        let retired = self.client.plugins().retired();
        assert!(retired.count + 1 >= times as u64, "{retired:?}");
        self
    }

    /// Returns the nanoseconds of one of many requests.
    fn time(&self) -> f64 {
        const CALLS: usize = 500;
        let started = Instant::now();
        self.runtime.block_on(async {
            for _ in 0..CALLS {
                let reply = self.client.send(self.request.clone()).await;
                black_box(reply.result).expect("an answer");
            }
        });
        started.elapsed().as_nanos() as f64 / CALLS as f64
    }
}

/// Makes instances of the loaded plugin, whose pre and post hooks are empty.
fn loaded(count: usize) -> impl Iterator<Item = PluginSpec> {
    let library: PathBuf = example("llmux-abi", "noop");
    (0..count).map(move |at| PluginSpec::path(library.clone()).with_name(format!("noop-{at}")))
}

fn median(mut samples: Vec<f64>) -> f64 {
    samples.sort_by(f64::total_cmp);
    samples[samples.len() / 2]
}

fn main() {
    let idle = (0..MANY).map(|at| PluginSpec::of::<ChunksOnly>(format!("idle-{at}")));
    let mut benches = vec![Bench::new([]), Bench::new(idle), Bench::new(loaded(1)).reload(MANY)];
    benches.extend(LOADED.map(|count| Bench::new(loaded(count))));
    let mut samples = vec![Vec::new(); benches.len()];
    // In turns, so that a slow phase of the machine slows down every side.
    for _ in 0..101 {
        for (samples, bench) in samples.iter_mut().zip(&benches) {
            samples.push(bench.time());
        }
    }
    let medians: Vec<f64> = samples.into_iter().map(median).collect();
    let [none, idle, reloaded, one, ..] = medians[..] else { unreachable!("there are seven benches") };
    println!("one request, medians:");
    println!("  no plugin                              {none:8.0} ns");
    println!(
        "  {MANY} instances without a hook of it      {idle:8.0} ns   ratio {:.2} (promised: at most 1.05)",
        idle / none
    );
    println!("  one plugin                             {one:8.0} ns");
    println!(
        "  one plugin, {MANY} images retired          {reloaded:8.0} ns   ratio {:.2} (promised: at most 1.05)",
        reloaded / one
    );
    println!("two hook calls of a loaded plugin, by the difference to one plugin:");
    for (count, time) in LOADED.iter().zip(&medians[3..]).skip(1) {
        println!(
            "  of {count:2} plugins                         {:8.0} ns",
            (time - one) / (count - 1) as f64
        );
    }
}
