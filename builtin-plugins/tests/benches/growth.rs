//! The cost of a request beside what the built-in plugins keep: entries of the cache, keys of the rate limit, series of the
//! metrics. `cargo bench -p llmux-builtin-tests --bench growth` prints the table.
//!
//! Whole calls of a client whose provider answers at once. The promise: a request costs the same, however many entries, keys
//! or series there are. The processor's caches are the limit of that promise.

use std::{hint::black_box, sync::Arc, time::Instant};

use futures_util::future::{BoxFuture, ready};
use llmux_builtin_tests::{Builtin, Kind};
use llmux_core::{
    Client, Document, Endpoint, Error, Request,
    pipeline::Identity,
    provider::{Answer, Call, Events, Provider},
};
use serde_json::{Value, json};
use tokio::runtime::Runtime;

/// Number of entries, keys or series.
const NUMBERS: [u64; 3] = [10, 1_000, 50_000];
/// Number of requests that are measured in a row. They have the first of the keys.
const CALLS: u64 = 200;

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

/// Returns the configuration of a plugin with room for everything that the bench makes.
fn config(plugin: Builtin) -> Value {
    match plugin {
        Builtin::Cache => json!({"max_entries": 100_000}),
        Builtin::RateLimit => {
            json!({"requests_per_second": 1e6, "burst": 4_000_000_000_u32, "max_keys": 100_000})
        }
        // Beyond this number, models share a label.
        _ => json!({"max_label_values": 1_000}),
    }
}

/// Returns a request that has an entry, a key or a series of its own.
fn request(number: u64) -> Request {
    let text =
        format!(r#"{{"model":"model-{number}","messages":[{{"role":"user","content":"hello {number}"}}]}}"#);
    let identity = Identity { key_id: format!("key-{number}"), ..Identity::default() };
    Request::new(Endpoint::ChatCompletions, text).expect("a request").with_identity(Some(Arc::new(identity)))
}

/// A client with one plugin that keeps something for each of many requests.
struct Bench {
    runtime: Runtime,
    client: Client,
}

impl Bench {
    fn new(plugin: Builtin, kept: u64) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let answer = json!({
            "id": "x", "object": "chat.completion", "model": "m",
            "choices": [{"index": 0, "message": {"role": "assistant", "content": "hello"}, "finish_reason": "stop"}],
            "usage": {"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7},
        });
        let provider = Arc::new(Ready(Document::from_value(&answer)));
        let builder = Client::builder().provider("ready", provider, ["*"]);
        let builder = builder.plugin(plugin.spec(Kind::Compiled, config(plugin)));
        let client = runtime.block_on(builder.build()).expect("a client");
        let bench = Self { runtime, client };
        bench.send(kept.max(CALLS));
        bench
    }

    fn send(&self, calls: u64) {
        self.runtime.block_on(async {
            for number in 0..calls {
                black_box(self.client.send(request(number)).await).result.expect("an answer");
                // `on_complete` of each request runs before the next request.
                tokio::task::yield_now().await;
            }
        });
    }

    /// Returns the nanoseconds of one request.
    fn time(&self) -> f64 {
        let started = Instant::now();
        self.send(CALLS);
        started.elapsed().as_nanos() as f64 / CALLS as f64
    }
}

fn median(mut samples: Vec<f64>) -> f64 {
    samples.sort_by(f64::total_cmp);
    samples[samples.len() / 2]
}

fn main() {
    println!("one request, medians, and the ratio to the first number (promised: at most 1.1):");
    for (plugin, kept) in [
        (Builtin::Cache, "cache entries"),
        (Builtin::RateLimit, "rate-limit keys"),
        (Builtin::Metrics, "models and keys in labels"),
    ] {
        let benches = NUMBERS.map(|number| Bench::new(plugin, number));
        let mut samples: [Vec<f64>; NUMBERS.len()] = Default::default();
        // In turns, so that a slow phase of the machine slows down every side.
        for _ in 0..51 {
            for (samples, bench) in samples.iter_mut().zip(&benches) {
                samples.push(bench.time());
            }
        }
        let medians = samples.map(median);
        for (number, time) in NUMBERS.iter().zip(medians) {
            println!("  {number:6} {kept:26} {time:8.0} ns   ratio {:.2}", time / medians[0]);
        }
    }
}
