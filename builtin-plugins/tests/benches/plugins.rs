//! What the four plugins cost, each alone and all in a chain, next to the bare calls of what they stand on.
//! `cargo bench -p llmux-builtin-tests` prints the figures with their promises first.
//!
//! The promises, on one core, for the whole chain of all four: a rejection under 1 µs, a hit on an answer of
//! 2 KB under 5 µs, the chain's own cost of a miss under 10 µs. Events are formatted and thrown away.
//! `on_complete` is nobody's wait; it is in the last lines, where whole requests are sent.

use std::{
    hint::black_box,
    num::NonZeroU32,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use divan::Bencher;
use futures_util::FutureExt;
use governor::{Quota, RateLimiter};
use llmux_builtin_tests::{Builtin, Kind};
use llmux_core::{
    Client, Document, Endpoint, Request, pipeline::Identity, plugins::PluginsConfig, provider::Echo,
    testing::Chain,
};
use serde_json::{Value, json};
use tokio::runtime::Runtime;

const CALLS: u32 = 1_000;

/// What becomes of the request.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Case {
    Rejected,
    Hit,
    Miss,
}

/// The configuration of a plugin in a case: nothing else may refuse or answer.
fn config(plugin: Builtin, case: Case) -> Value {
    match plugin {
        Builtin::RateLimit if case == Case::Rejected => {
            json!({"requests_per_second": 0.000_001, "burst": 1})
        }
        Builtin::RateLimit => json!({"requests_per_second": 1e6, "burst": 4_000_000_000_u32}),
        _ => json!({}),
    }
}

/// A request of about 600 bytes, as chats are.
fn request() -> Request {
    let body = json!({
        "model": "echo", "temperature": 0.7, "max_tokens": 256,
        "messages": [
            {"role": "system", "content": "You are a helpful assistant that answers in one sentence. ".repeat(4)},
            {"role": "user", "content": "x".repeat(200)},
        ],
    });
    let identity = Identity { key_id: "key-1".to_owned(), ..Identity::default() };
    let request = Request::of(Endpoint::ChatCompletions, &body).expect("a request");
    request.identity(Some(Arc::new(identity)))
}

/// An answer of 2 KB.
fn answer() -> Document {
    let body = json!({
        "id": "x", "object": "chat.completion", "created": 1, "model": "echo",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": "y".repeat(1_800)}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7},
    });
    Document::parse(Bytes::from(body.to_string())).expect("JSON")
}

fn client(runtime: &Runtime, kind: Kind, plugins: &[Builtin], case: Case) -> Client {
    runtime.block_on(async {
        let mut builder = Client::builder()
            .provider("echo", Arc::new(Echo::new()), ["echo"])
            .plugins(PluginsConfig { allow_insecure_permissions: true, ..PluginsConfig::default() });
        for plugin in plugins {
            builder = builder.plugin(plugin.spec(kind, config(*plugin, case)));
        }
        builder.build().await.expect("a client")
    })
}

fn chain(runtime: &Runtime, kind: Kind, plugins: &[Builtin], case: Case) -> Chain {
    let client = client(runtime, kind, plugins, case);
    if case != Case::Miss {
        // The first request takes the one place, or is stored.
        runtime.block_on(async {
            let _ = client.send(stored()).await;
            tokio::time::sleep(Duration::from_millis(50)).await;
        });
    }
    let request = if case == Case::Miss { request() } else { stored() };
    Chain::new(&client, request).expect("the pipeline is open")
}

/// A request whose answer is 2 KB, since the echo repeats it.
fn stored() -> Request {
    let body = json!({
        "model": "echo", "temperature": 0.7,
        "messages": [{"role": "user", "content": "y".repeat(1_800)}],
    });
    let identity = Identity { key_id: "key-1".to_owned(), ..Identity::default() };
    let request = Request::of(Endpoint::ChatCompletions, &body).expect("a request");
    request.identity(Some(Arc::new(identity)))
}

fn round(chain: &mut Chain, response: &Document) {
    let _ = black_box(chain.run(response.clone()).now_or_never().expect("nothing waits"));
}

/// Checks that a chain does what its case says.
fn check(chain: &mut Chain, case: Case) {
    let result = chain.run(answer()).now_or_never().expect("nothing waits");
    match case {
        Case::Rejected => assert_eq!(result.expect_err("rejected").status(), 429),
        Case::Hit => {
            let answer = result.expect("an answer");
            assert!((1_900..2_500).contains(&answer.size()), "{}", answer.size());
            assert!(answer.get_str("/id") != Some("x"), "from the cache");
        }
        Case::Miss => assert_eq!(result.expect("an answer").get_str("/id"), Some("x")),
    }
}

/// Nanoseconds of one call.
fn time(mut call: impl FnMut()) -> f64 {
    let started = Instant::now();
    for _ in 0..CALLS {
        call();
    }
    started.elapsed().as_nanos() as f64 / f64::from(CALLS)
}

fn median(mut samples: Vec<f64>) -> f64 {
    samples.sort_by(f64::total_cmp);
    samples[samples.len() / 2]
}

/// The bare limiter, empty: every check is a rejection.
fn bare_limiter() -> impl Fn() {
    let quota = Quota::with_period(Duration::from_secs(1_000_000)).expect("a period");
    let limiter = RateLimiter::hashmap(quota.allow_burst(NonZeroU32::MIN));
    let _ = limiter.check_key(&"key-1".to_owned());
    let key = "key-1".to_owned();
    move || {
        let _ = black_box(limiter.check_key(black_box(&key)));
    }
}

/// The bare cache with one answer.
fn bare_cache() -> impl Fn() {
    let cache = moka::sync::Cache::<[u8; 32], Arc<str>>::new(10_000);
    cache.insert([7; 32], "y".repeat(2_000).into());
    move || drop(black_box(cache.get(black_box(&[7; 32]))))
}

fn main() {
    tracing_subscriber::fmt().with_writer(std::io::sink).init();
    // Whoever names a benchmark wants that one.
    if std::env::args().skip(1).all(|argument| argument.starts_with('-')) {
        summary();
    }
    divan::main();
}

fn summary() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
    let runtime = runtime.expect("a runtime");
    let _runtime = runtime.enter();
    let response = answer();
    let mut rows: Vec<(String, Box<dyn FnMut()>)> = Vec::new();
    rows.push(("bare governor, a rejection".to_owned(), Box::new(bare_limiter())));
    rows.push(("bare moka, a hit".to_owned(), Box::new(bare_cache())));
    let mut none = chain(&runtime, Kind::Compiled, &[], Case::Miss);
    let empty = response.clone();
    rows.push(("no plugins".to_owned(), Box::new(move || round(&mut none, &empty))));
    for kind in [Kind::Compiled, Kind::Loaded] {
        for (case, promise) in [(Case::Rejected, 1_000), (Case::Hit, 5_000), (Case::Miss, 10_000)] {
            let mut chain = chain(&runtime, kind, &Builtin::ALL, case);
            check(&mut chain, case);
            let response = response.clone();
            let name = format!("all four {kind:?}, {case:?} (promised: under {promise} ns)");
            rows.push((name, Box::new(move || round(&mut chain, &response))));
        }
    }
    // In turn, so that a machine that slows down slows all of them down.
    let mut samples = vec![Vec::new(); rows.len()];
    for _ in 0..101 {
        for (samples, (_, call)) in samples.iter_mut().zip(&mut rows) {
            samples.push(time(call));
        }
    }
    println!("medians, in nanoseconds:");
    for ((name, _), samples) in rows.iter().zip(samples) {
        println!("  {:8.0}  {name}", median(samples));
    }
    println!("whole requests with an instant upstream, entry and on_complete included:");
    for kind in [Kind::Compiled, Kind::Loaded] {
        for case in [Case::Rejected, Case::Hit, Case::Miss] {
            println!("  {:8.0}  all four {kind:?}, {case:?}", whole(&runtime, kind, &Builtin::ALL, case));
        }
    }
    println!("  {:8.0}  no plugins", whole(&runtime, Kind::Compiled, &[], Case::Miss));
    println!();
}

/// Nanoseconds of a whole request, `on_complete` included, on one thread.
fn whole(runtime: &Runtime, kind: Kind, plugins: &[Builtin], case: Case) -> f64 {
    let client = client(runtime, kind, plugins, case);
    let alone = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let mut number = 0;
    let body = stored();
    let text = String::from_utf8_lossy(&body.body().to_bytes()).into_owned();
    let samples = (0..21).map(|_| {
        alone.block_on(async {
            let started = Instant::now();
            for _ in 0..CALLS {
                let request = match case {
                    Case::Miss => {
                        number += 1;
                        let text = text.replacen("\"y", &format!("\"{number:08}y"), 1);
                        Request::new(Endpoint::ChatCompletions, text).expect("a request")
                    }
                    _ => body.clone(),
                };
                let _ = black_box(client.send(request).await);
                tokio::task::yield_now().await;
            }
            started.elapsed().as_nanos() as f64 / f64::from(CALLS)
        })
    });
    median(samples.collect())
}

#[divan::bench(args = [Builtin::RateLimit, Builtin::Cache, Builtin::Metrics, Builtin::Logging], consts = [false, true])]
fn alone<const LOADED: bool>(bencher: Bencher<'_, '_>, plugin: Builtin) {
    let runtime = Runtime::new().expect("a runtime");
    let _runtime = runtime.enter();
    let kind = if LOADED { Kind::Loaded } else { Kind::Compiled };
    let mut chain = chain(&runtime, kind, &[plugin], Case::Miss);
    let response = answer();
    bencher.bench_local(|| round(&mut chain, &response));
}

#[divan::bench(args = [Case::Rejected, Case::Hit, Case::Miss], consts = [false, true])]
fn all_four<const LOADED: bool>(bencher: Bencher<'_, '_>, case: Case) {
    let runtime = Runtime::new().expect("a runtime");
    let _runtime = runtime.enter();
    let kind = if LOADED { Kind::Loaded } else { Kind::Compiled };
    let mut chain = chain(&runtime, kind, &Builtin::ALL, case);
    check(&mut chain, case);
    let response = answer();
    bencher.bench_local(|| round(&mut chain, &response));
}

#[divan::bench]
fn governor_rejection(bencher: Bencher<'_, '_>) {
    bencher.bench_local(bare_limiter());
}

#[divan::bench]
fn moka_hit(bencher: Bencher<'_, '_>) {
    bencher.bench_local(bare_cache());
}
