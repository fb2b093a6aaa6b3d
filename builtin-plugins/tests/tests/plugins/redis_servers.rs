//! Hosts that share a real Redis Cluster, and hosts whose Redis is full, read-only, paused or away: the answers of each plugin, and the metric.
//!
//! These tests use real time, as the Redis server does.

use std::time::{Duration, Instant};

use llmux_builtin_tests::{Builtin, Kind, World, ask, value};
use llmux_redis_link::{
    health,
    testing::{Cluster, RedisServer},
};
use serde_json::{Value, json};

/// Maximum time until a host notices a change.
const PATIENCE: Duration = Duration::from_secs(10);

async fn host(kind: Kind, plugin: Builtin, url: &str, mut config: Value) -> World {
    config["redis"]["url"] = json!(url);
    config["redis"]["timeout"] = json!("2s");
    World::new([plugin.with(kind, config)]).await
}

async fn until(mut holds: impl AsyncFnMut() -> bool) {
    let started = Instant::now();
    while !holds().await {
        assert!(started.elapsed() < PATIENCE, "it never happened");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn is_degraded(world: &World, plugin: &str) -> Option<f64> {
    value(world, health::METRIC, &[("plugin", plugin)]).await
}

async fn three_hosts_share_a_cluster(kind: Kind) {
    let cluster = Cluster::start().expect("a cluster");
    let limit = json!({"requests_per_second": 0.01, "burst": 3, "tokens_per_minute": 1_000_000, "redis": {"cluster": true}});
    // Each host knows another server of the cluster.
    let urls: Vec<String> = cluster.servers.iter().map(RedisServer::url).collect();
    let mut limiting = Vec::new();
    let mut caching = Vec::new();
    for url in &urls {
        limiting.push(host(kind, Builtin::RateLimit, url, limit.clone()).await);
        caching.push(host(kind, Builtin::Cache, url, json!({"redis": {"cluster": true}})).await);
    }
    // Keys of several servers, each with one limit for all hosts.
    for key in ["a", "b", "k", "tenant"] {
        for (world, remaining) in limiting.iter().zip(["2", "1", "0"]) {
            let answer = world.send(ask(false).key(key)).await;
            assert!(answer.is_ok());
            assert_eq!(answer.header("x-ratelimit-remaining-requests"), Some(remaining), "{key}");
        }
        assert_eq!(limiting[0].send(ask(true).key(key)).await.refusal().status(), 429, "{key}");
    }
    for number in 0..4 {
        let asked = |stream| ask(stream).with("seed", json!(number));
        until(async || caching[0].send(asked(false)).await.hit).await;
        assert!(
            caching[1].send(asked(true)).await.hit && caching[2].send(asked(false)).await.hit,
            "{number}"
        );
    }
    assert_eq!(is_degraded(&limiting[0], "rate-limit").await, Some(0.0));
    assert_eq!(is_degraded(&caching[0], "cache").await, Some(0.0));
    drop(cluster);
    until(async || is_degraded(&caching[0], "cache").await == Some(1.0)).await;
    assert!(caching[0].send(ask(false)).await.is_ok(), "without Redis");
}

async fn a_full_server_is_read_and_shown_as_degraded(kind: Kind) {
    let server = RedisServer::start_with(&["--maxmemory-policy", "noeviction"]).expect("a server");
    let cached = host(kind, Builtin::Cache, &server.url(), json!({})).await;
    let limited = host(kind, Builtin::RateLimit, &server.url(), json!({"on_backend_error": "deny"})).await;
    until(async || cached.send(ask(false)).await.hit).await;
    assert!(limited.send(ask(false)).await.is_ok());
    server.command(&["CONFIG", "SET", "maxmemory", "1"]).expect("a reply");
    assert!(cached.send(ask(true)).await.hit, "a stored answer is read");
    for _ in 0..2 {
        let answer = cached.send(ask(false).with("seed", json!(1))).await;
        assert!(answer.is_ok() && !answer.hit, "no answer is stored");
    }
    assert_eq!(limited.send(ask(false)).await.refusal().status(), 503);
    assert_eq!(is_degraded(&limited, "rate-limit").await, Some(1.0));
    until(async || is_degraded(&cached, "cache").await == Some(1.0)).await;
}

async fn a_read_only_server_is_read_and_shown_as_degraded(kind: Kind) {
    let server = RedisServer::start().expect("a server");
    let cached = host(kind, Builtin::Cache, &server.url(), json!({})).await;
    let limited = host(kind, Builtin::RateLimit, &server.url(), json!({"on_backend_error": "deny"})).await;
    until(async || cached.send(ask(false)).await.hit).await;
    assert!(limited.send(ask(false)).await.is_ok());
    // A replica of a master that does not answer keeps its data and accepts no writes.
    server.command(&["REPLICAOF", "127.0.0.1", "1"]).expect("a reply");
    assert!(cached.send(ask(true)).await.hit, "a stored answer is read");
    let answer = cached.send(ask(false).with("seed", json!(1))).await;
    assert!(answer.is_ok() && !answer.hit, "no answer is stored");
    assert_eq!(limited.send(ask(false)).await.refusal().status(), 503);
    assert_eq!(is_degraded(&limited, "rate-limit").await, Some(1.0));
    until(async || is_degraded(&cached, "cache").await == Some(1.0)).await;
}

async fn a_paused_server_is_away_and_shown_as_degraded(kind: Kind) {
    let server = RedisServer::start().expect("a server");
    let cached = host(kind, Builtin::Cache, &server.url(), json!({})).await;
    let limited = host(kind, Builtin::RateLimit, &server.url(), json!({"on_backend_error": "deny"})).await;
    until(async || cached.send(ask(false)).await.hit).await;
    assert!(limited.send(ask(false)).await.is_ok());
    server.pause().expect("a signal");
    for _ in 0..2 {
        let answer = cached.send(ask(false)).await;
        assert!(answer.is_ok() && !answer.hit, "a lookup is a miss");
        assert_eq!(limited.send(ask(true)).await.refusal().status(), 503);
    }
    assert_eq!(is_degraded(&cached, "cache").await, Some(1.0));
    assert_eq!(is_degraded(&limited, "rate-limit").await, Some(1.0));
    let dropped = value(&cached, "llmux_cache_stores_dropped_total", &[("plugin", "cache")]).await;
    assert!(dropped >= Some(1.0), "{dropped:?}");
    server.resume().expect("a signal");
    until(async || cached.send(ask(false)).await.hit).await;
    until(async || limited.send(ask(false)).await.is_ok()).await;
    assert_eq!(is_degraded(&cached, "cache").await, Some(0.0));
}

in_every_kind! {
    in_real_time:
    three_hosts_share_a_cluster
    a_full_server_is_read_and_shown_as_degraded
    a_read_only_server_is_read_and_shown_as_degraded
    a_paused_server_is_away_and_shown_as_degraded
}
