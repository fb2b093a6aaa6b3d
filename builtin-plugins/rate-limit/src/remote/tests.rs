//! Tests of the shared limiter with a real Redis server.

use std::{sync::Arc, time::Instant};

use llmux_redis_link::testing::RedisServer;

use super::*;
use crate::Config;

fn remote(server: &RedisServer, mut config: serde_json::Value) -> Remote {
    config["redis"]["url"] = server.url().into();
    let config: Config = serde_json::from_value(config).expect("a configuration");
    let redis = config.redis.as_ref().expect("a server");
    Remote::open(redis, &config.limits().expect("limits"), Box::new(drop)).expect("a link")
}

#[tokio::test]
async fn two_hosts_share_one_limit() {
    let server = RedisServer::start().expect("redis-server");
    let config = serde_json::json!({"requests_per_second": 0.3, "burst": 3});
    let (one, other) = (remote(&server, config.clone()), remote(&server, config));
    for (host, remaining) in [(&one, 2), (&other, 1), (&one, 0)] {
        let decision = host.decide("k", 0).await.expect("a decision");
        assert_eq!((decision.refused, decision.remaining), (None, remaining));
    }
    let refusal = other.decide("k", 0).await.expect("a decision").refused.expect("a refusal");
    assert_eq!(refusal.what, Limit::Requests);
    assert!((3.0..=3.4).contains(&refusal.retry_after.as_secs_f64()), "{refusal:?}");
    assert_eq!(one.decide("another", 0).await.expect("a decision").refused, None);
}

#[tokio::test]
async fn concurrent_decisions_never_give_one_place_twice() {
    let server = RedisServer::start().expect("redis-server");
    let config = serde_json::json!({"requests_per_second": 0.001, "burst": 50});
    let remote = Arc::new(remote(&server, config));
    let calls = (0..200).map(|_| {
        let remote = Arc::clone(&remote);
        tokio::spawn(async move { remote.decide("k", 0).await.expect("a decision").refused.is_none() })
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
    remote.settle("k", Settlement { requests: 0, reserved: 0, used: 605 }).await.expect("a settlement");
    let refusal =
        remote.decide("k", 0).await.expect("a decision").refused.expect("a refusal at a negative balance");
    assert_eq!(refusal.what, Limit::Tokens);
    assert!((0.3..=0.6).contains(&refusal.retry_after.as_secs_f64()), "{refusal:?}");
    tokio::time::sleep(refusal.retry_after + Duration::from_millis(5)).await;
    assert_eq!(remote.decide("k", 0).await.expect("a decision").refused, None);
    tokio::time::sleep(Duration::from_millis(50)).await;
    let expired = remote.link.call(async |mut connection| {
        redis::cmd("EXISTS").arg("llmux:limit:{k}:requests").query_async::<bool>(&mut connection).await
    });
    assert!(!expired.await.expect("an answer"), "a full bucket has no key in Redis");
}

#[tokio::test]
async fn a_request_is_settled_with_what_it_reserved() {
    let server = RedisServer::start().expect("redis-server");
    let config = serde_json::json!({"requests_per_second": 0.01, "burst": 5, "tokens_per_minute": 60});
    let remote = remote(&server, config);
    let refused = async |reserved| {
        let decision = remote.decide("k", reserved).await.expect("a decision");
        decision.refused.map(|refusal| refusal.what)
    };
    assert_eq!(refused(60).await, None);
    assert_eq!(refused(1).await, Some(Limit::Tokens), "the first request holds them all");
    remote.settle("k", Settlement { requests: 0, reserved: 60, used: 20 }).await.expect("a settlement");
    assert_eq!(refused(1).await, None);
    remote.settle("k", Settlement { requests: 4, reserved: 1, used: 0 }).await.expect("a settlement");
    assert_eq!(refused(1).await, Some(Limit::Requests), "four attempts beyond the first");
}

#[tokio::test]
async fn the_limit_works_again_when_the_server_is_back() {
    let mut server = RedisServer::start().expect("redis-server");
    let remote = remote(&server, serde_json::json!({"requests_per_second": 1, "burst": 1}));
    assert_eq!(remote.decide("k", 0).await.expect("a decision").refused, None);
    server.kill();
    assert!(remote.decide("k", 0).await.is_err());
    server.restart().expect("redis-server");
    let started = Instant::now();
    while remote.decide("k", 0).await.is_err() {
        assert!(started.elapsed() < Duration::from_secs(10), "the limit never came back");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert!(remote.decide("k", 0).await.expect("a decision").refused.is_some());
    remote.close().await;
}
