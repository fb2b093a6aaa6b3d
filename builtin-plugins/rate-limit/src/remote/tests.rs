//! Tests of the shared limiter with a real Redis server.

use std::time::Instant;

use llmux_redis_link::testing::RedisServer;

use super::*;

fn remote(server: &RedisServer, mut config: serde_json::Value) -> Remote {
    config["backend"] = "redis".into();
    config["url"] = server.url().into();
    let config: Config = serde_json::from_value(config).expect("a configuration");
    Remote::open(&config, &config.limits().expect("limits")).expect("a link")
}

#[tokio::test]
async fn two_hosts_share_one_limit() {
    let server = RedisServer::start().expect("redis-server");
    let config = serde_json::json!({"requests_per_second": 0.3, "burst": 3});
    let (one, other) = (remote(&server, config.clone()), remote(&server, config));
    for (host, remaining) in [(&one, 2), (&other, 1), (&one, 0)] {
        let decision = host.decide("k").await.expect("a decision");
        assert_eq!((decision.refused, decision.remaining), (None, remaining));
    }
    let refusal = other.decide("k").await.expect("a decision").refused.expect("a refusal");
    assert_eq!(refusal.what, Limit::Requests);
    assert!((3.0..=3.4).contains(&refusal.retry_after.as_secs_f64()), "{refusal:?}");
    assert_eq!(one.decide("another").await.expect("a decision").refused, None);
}

#[tokio::test]
async fn concurrent_decisions_never_give_one_place_twice() {
    let server = RedisServer::start().expect("redis-server");
    let config = serde_json::json!({"requests_per_second": 0.001, "burst": 50});
    let remote = Arc::new(remote(&server, config));
    let calls = (0..200).map(|_| {
        let remote = Arc::clone(&remote);
        tokio::spawn(async move { remote.decide("k").await.expect("a decision").refused.is_none() })
    });
    let mut allowed = 0;
    for call in calls.collect::<Vec<_>>() {
        allowed += u32::from(call.await.expect("a call"));
    }
    assert_eq!(allowed, 50);
}

#[tokio::test]
async fn tokens_are_shared_and_idle_keys_expire() {
    let server = RedisServer::start().expect("redis-server");
    let config = serde_json::json!({"requests_per_second": 1000, "tokens_per_minute": 600});
    let remote = remote(&server, config);
    remote.charge("k", 605).await.expect("a charge");
    let refusal =
        remote.decide("k").await.expect("a decision").refused.expect("a refusal at a negative balance");
    assert_eq!(refusal.what, Limit::Tokens);
    assert!((0.3..=0.6).contains(&refusal.retry_after.as_secs_f64()), "{refusal:?}");
    tokio::time::sleep(refusal.retry_after + Duration::from_millis(5)).await;
    assert_eq!(remote.decide("k").await.expect("a decision").refused, None);
    tokio::time::sleep(Duration::from_millis(50)).await;
    let expired = remote.link.call(async |mut connection| {
        redis::cmd("EXISTS").arg("llmux:limit:{k}:requests").query_async::<bool>(&mut connection).await
    });
    assert!(!expired.await.expect("an answer"), "a full bucket has no key in Redis");
}

#[tokio::test]
async fn the_limit_works_again_when_the_server_is_back() {
    let mut server = RedisServer::start().expect("redis-server");
    let remote = remote(&server, serde_json::json!({"requests_per_second": 1, "burst": 1}));
    assert_eq!(remote.decide("k").await.expect("a decision").refused, None);
    server.kill();
    assert!(remote.decide("k").await.is_err());
    server.restart().expect("redis-server");
    let started = Instant::now();
    while remote.decide("k").await.is_err() {
        assert!(started.elapsed() < Duration::from_secs(10), "the limit never came back");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert!(remote.decide("k").await.expect("a decision").refused.is_some());
    remote.close().await;
}
