//! A soak test that shows whether memory stays flat. Prints resident memory while it runs.
//!
//! Sends a million requests with different rate-limit keys, without and with a charge of tokens; a million requests
//! with different cache entries, more than the cache keeps; and a million requests with different names of models
//! through metrics. Then runs the limit and the cache with a real Redis server, and counts the keys in that server.
//!
//! `cargo run --release -p llmux-builtin-tests --example soak -- [compiled|loaded] [millions]`

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use llmux_builtin_tests::{Builtin, Kind};
use llmux_core::{Client, Endpoint, Request, pipeline::Identity, plugins::PluginsConfig, provider::Echo};
use llmux_redis_link::{Link, RedisConfig, redis, testing::RedisServer};
use serde_json::{Value, json};

/// Returns the resident memory of this process, in MiB.
fn resident() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or_default();
    let kilobytes: f64 = line.trim().trim_end_matches(" kB").parse().unwrap_or_default();
    kilobytes / 1024.0
}

async fn client(kind: Kind, plugin: Builtin, config: Value) -> Client {
    let builder = Client::builder()
        .provider("echo", Arc::new(Echo::new()), ["echo"])
        .plugins(PluginsConfig::default().with_allow_insecure_permissions(true));
    builder.plugin(plugin.spec(kind, config)).build().await.expect("a client")
}

fn request(model: &str, text: &str, key: String) -> Request {
    let body = json!({"model": model, "messages": [{"role": "user", "content": text}]});
    let identity = Identity { key_id: key, ..Identity::default() };
    Request::of(Endpoint::ChatCompletions, &body).expect("a request").with_identity(Some(Arc::new(identity)))
}

/// Sends `count` requests and prints the resident memory ten times.
async fn soak(what: &str, client: Client, count: usize, request: impl Fn(usize) -> Request) {
    let (before, started) = (resident(), Instant::now());
    println!("{what}: {before:.1} MiB before");
    for at in 0..count {
        let _ = client.send(request(at)).await;
        // `on_complete` runs in tasks of its own, on this one thread. Without a yield after each request, the waiting
        // tasks would accumulate, and their memory would be measured.
        tokio::task::yield_now().await;
        if (at + 1) % (count / 10).max(1) == 0 {
            println!("{what}: {:8} requests, {:.1} MiB", at + 1, resident());
        }
    }
    let each = started.elapsed().as_secs_f64() * 1e6 / count as f64;
    let report = client.shutdown(Duration::from_secs(5)).await;
    println!(
        "{what}: {:.1} MiB more than before, {each:.1} µs a request, drained: {}",
        resident() - before,
        report.drained
    );
    drop(client);
    println!("{what}: {:.1} MiB after the client is gone", resident());
}

/// Returns the number of keys in the Redis server.
async fn keys(link: &Link) -> u64 {
    let count = link.call(async |mut connection| redis::cmd("DBSIZE").query_async(&mut connection).await);
    count.await.expect("redis answers")
}

/// Runs the limit and the cache with a real Redis server: its keys expire, and this process keeps none of them.
async fn soak_redis(kind: Kind, count: usize) {
    let server = RedisServer::start().expect("redis-server");
    let link =
        Link::open(&RedisConfig::new(&server.url(), Duration::from_secs(1)), Box::new(drop)).expect("a link");
    let with = |mut config: Value| {
        config["redis"]["url"] = json!(server.url());
        config
    };
    let limit = with(json!({"requests_per_second": 1, "tokens_per_minute": 120}));
    let limited = client(kind, Builtin::RateLimit, limit).await;
    soak("redis limit", limited, count, |at| request("echo", "hi", format!("key-{at}"))).await;
    let text = "y".repeat(1_000);
    let cached = client(kind, Builtin::Cache, with(json!({"ttl": "1s"}))).await;
    soak("redis cache", cached, count, |at| request("echo", &format!("{at} {text}"), String::new())).await;
    println!("redis: {} keys at the end", keys(&link).await);
    let started = Instant::now();
    while keys(&link).await > 0 && started.elapsed() < Duration::from_secs(60) {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    println!("redis: {} keys {:.1} s later", keys(&link).await, started.elapsed().as_secs_f64());
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let kind = match std::env::args().nth(1).as_deref() {
        Some("loaded") => Kind::Loaded,
        _ => Kind::Compiled,
    };
    let millions: f64 = std::env::args().nth(2).and_then(|text| text.parse().ok()).unwrap_or(1.0);
    let count = (millions * 1e6) as usize;

    // No provider serves this model, so that only the plugin keeps data.
    let limit = json!({"requests_per_second": 10, "tokens_per_minute": 1000});
    let limited = client(kind, Builtin::RateLimit, limit).await;
    soak("rate-limit keys", limited, count, |at| request("nobody", "hi", format!("key-{at}"))).await;

    // Two words in the request and two in the answer: four tokens, charged to every key.
    let limit = json!({"requests_per_second": 1_000, "tokens_per_minute": 100});
    let charged = client(kind, Builtin::RateLimit, limit).await;
    soak("rate-limit tokens", charged, count, |at| request("echo", "hi there", format!("key-{at}"))).await;

    let text = "y".repeat(1_000);
    let cached = client(kind, Builtin::Cache, json!({"max_entries": 10_000})).await;
    soak("cache entries", cached, count, |at| request("echo", &format!("{at} {text}"), String::new())).await;

    let counted = client(kind, Builtin::Metrics, json!({})).await;
    soak("metrics", counted, count, |at| request(&format!("model-{at}"), "hi", String::new())).await;

    // A call of the server takes a socket round trip: a tenth of the requests shows as much.
    soak_redis(kind, count / 10).await;
}
