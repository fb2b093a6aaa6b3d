//! Two hosts with one real Redis: the state that they share, and their behavior while Redis is unavailable.
//!
//! These tests use real time, as the Redis server does.

use std::time::{Duration, Instant};

use llmux_builtin_tests::{Answer, Builtin, Kind, World, ask};
use llmux_redis_link::testing::RedisServer;
use serde_json::{Value, json};

/// Maximum time until a host notices a change.
const PATIENCE: Duration = Duration::from_secs(10);

async fn host(server: &RedisServer, kind: Kind, plugin: Builtin, mut config: Value) -> World {
    config["redis"]["url"] = json!(server.url());
    World::new([plugin.with(kind, config)]).await
}

/// Sends requests until an answer is as expected.
async fn until(world: &World, stream: bool, expected: impl Fn(&Answer) -> bool) -> Answer {
    let started = Instant::now();
    loop {
        let answer = world.send(ask(stream)).await;
        if expected(&answer) {
            return answer;
        }
        assert!(started.elapsed() < PATIENCE, "{answer:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn two_hosts_share_one_limit(kind: Kind) {
    let server = RedisServer::start().expect("redis-server");
    let config = json!({"requests_per_second": 0.01, "burst": 3, "redis": {"timeout": "2s"}});
    let one = host(&server, kind, Builtin::RateLimit, config.clone()).await;
    let other = host(&server, kind, Builtin::RateLimit, config).await;
    for (world, stream, remaining) in [(&one, false, "2"), (&other, true, "1"), (&one, true, "0")] {
        let answer = world.send(ask(stream)).await;
        assert!(answer.is_ok());
        assert_eq!(answer.header("x-ratelimit-remaining-requests"), Some(remaining));
    }
    for (world, stream) in [(&one, false), (&other, true), (&other, false)] {
        let refused = world.send(ask(stream)).await;
        assert_eq!((refused.refusal().status(), refused.limited), (429, true));
        let wait = refused.refusal().retry_after().expect("a time");
        assert!((90..=100).contains(&wait.as_secs()), "{wait:?}");
    }
    assert!(other.send(ask(false).key("another")).await.is_ok());
}

async fn two_hosts_share_their_tokens(kind: Kind) {
    let server = RedisServer::start().expect("redis-server");
    let config = json!({"requests_per_second": 1000, "tokens_per_minute": 7, "redis": {"timeout": "2s"}});
    let one = host(&server, kind, Builtin::RateLimit, config.clone()).await;
    let other = host(&server, kind, Builtin::RateLimit, config).await;
    assert!(one.send(ask(true)).await.is_ok());
    let refused = until(&other, false, |answer| !answer.is_ok()).await;
    assert!(refused.refusal().message().contains("token"), "{}", refused.refusal());
}

async fn two_hosts_share_answers_of_both_kinds(kind: Kind) {
    let server = RedisServer::start().expect("redis-server");
    for stream in [false, true] {
        let config = json!({"redis": {"timeout": "2s", "prefix": format!("test:{stream}:")}});
        let one = host(&server, kind, Builtin::Cache, config.clone()).await;
        let other = host(&server, kind, Builtin::Cache, config).await;
        let first = one.send(ask(stream)).await;
        let hit = until(&one, stream, |answer| answer.hit).await;
        let elsewhere = other.send(ask(stream)).await;
        assert!(elsewhere.hit);
        assert_eq!(elsewhere.bodies, hit.bodies);
        assert!(one.upstream.calls() > 1 || hit.bodies == first.bodies);
        assert!(other.send(ask(!stream)).await.hit, "the other kind of request");
        assert!(!other.send(ask(stream).key("tenant")).await.hit, "of another tenant");
    }
}

async fn the_limit_goes_on_without_its_server_and_with_it_again(kind: Kind) {
    let mut server = RedisServer::start().expect("redis-server");
    let config = json!({"requests_per_second": 0.01, "burst": 2});
    let one = host(&server, kind, Builtin::RateLimit, config.clone()).await;
    let other = host(&server, kind, Builtin::RateLimit, config).await;
    until(&one, false, |answer| !answer.is_ok()).await;
    assert!(!other.send(ask(true)).await.is_ok(), "shared");
    server.kill();
    // Each host's own limiter has its full bucket: two more requests each, and then no more.
    for world in [&one, &other] {
        for stream in [false, true] {
            let started = Instant::now();
            assert!(world.send(ask(stream)).await.is_ok());
            assert!(started.elapsed() < Duration::from_secs(1), "a request waits for no server");
        }
        assert!(!world.send(ask(false)).await.is_ok(), "limited all the same");
    }
    server.restart().expect("redis-server");
    // The server came back empty, so that its bucket is full: it decides again.
    until(&one, false, Answer::is_ok).await;
    until(&other, true, |answer| !answer.is_ok()).await;
    until(&one, true, |answer| !answer.is_ok()).await;
}

async fn an_operator_may_deny_while_the_server_is_away(kind: Kind) {
    let mut server = RedisServer::start().expect("redis-server");
    let config = json!({"requests_per_second": 1000, "on_backend_error": "deny", "redis": {"timeout": "2s"}});
    let world = host(&server, kind, Builtin::RateLimit, config).await;
    assert!(world.send(ask(false)).await.is_ok());
    server.kill();
    for stream in [false, true, false] {
        let denied = world.send(ask(stream).fallback("spare")).await;
        assert_eq!(
            (denied.refusal().status(), denied.inside.as_ref().is_none_or(|inside| inside.attempts == 1)),
            (503, true)
        );
    }
    assert_eq!(world.upstream.calls(), 1);
    server.restart().expect("redis-server");
    until(&world, true, Answer::is_ok).await;
}

async fn the_cache_goes_on_without_its_server_and_with_it_again(kind: Kind) {
    let mut server = RedisServer::start().expect("redis-server");
    let one = host(&server, kind, Builtin::Cache, json!({"redis": {"timeout": "1s"}})).await;
    let other = host(&server, kind, Builtin::Cache, json!({"redis": {"timeout": "1s"}})).await;
    until(&one, false, |answer| answer.hit).await;
    server.kill();
    for world in [&one, &other] {
        for stream in [false, true, false] {
            let started = Instant::now();
            let answer = world.send(ask(stream)).await;
            assert!(answer.is_ok() && !answer.hit);
            assert!(started.elapsed() < Duration::from_secs(1), "a request waits for no server");
        }
    }
    server.restart().expect("redis-server");
    until(&one, true, |answer| answer.hit).await;
    until(&other, false, |answer| answer.hit).await;
}

async fn a_host_may_start_before_its_server(kind: Kind) {
    let mut server = RedisServer::start().expect("redis-server");
    server.kill();
    let limit = json!({"requests_per_second": 0.01, "burst": 5});
    let limited = host(&server, kind, Builtin::RateLimit, limit).await;
    let cached = host(&server, kind, Builtin::Cache, json!({})).await;
    assert!(limited.send(ask(false)).await.is_ok());
    assert!(cached.send(ask(true)).await.is_ok());
    server.restart().expect("redis-server");
    until(&cached, false, |answer| answer.hit).await;
    cached.end().await;
}

in_every_kind! {
    in_real_time:
    two_hosts_share_one_limit
    two_hosts_share_their_tokens
    two_hosts_share_answers_of_both_kinds
    the_limit_goes_on_without_its_server_and_with_it_again
    an_operator_may_deny_while_the_server_is_away
    the_cache_goes_on_without_its_server_and_with_it_again
    a_host_may_start_before_its_server
}
