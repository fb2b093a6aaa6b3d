//! The rate-limit plugin: the requests that it admits, the answer to a refused client, and the key of each limit.

use std::{sync::Arc, time::Duration};

use llmux_abi::Context;
use llmux_builtin_tests::{Answer, Builtin, Kind, Way, World, ask};
use llmux_core::PluginSpec;
use llmux_plugin_rate_limit::RateLimit;
use serde_json::{Value, json};

use crate::neighbors;

async fn world(way: Way, config: Value) -> World {
    let seats = (way.kind != Kind::Process).then(|| neighbors::seats().into());
    World::new(seats.into_iter().chain([Builtin::RateLimit.with(way.kind, config)])).await
}

/// Returns a configuration of one request per second with a burst of two.
fn two_at_once(key: Value) -> Value {
    json!({"requests_per_second": 1, "burst": 2, "key": key})
}

fn limits(answer: &Answer) -> [Option<&str>; 3] {
    ["limit", "remaining", "reset"].map(|what| answer.header(&format!("x-ratelimit-{what}-requests")))
}

async fn a_full_bucket_rejects(way: Way) {
    let world = world(way, two_at_once(json!("global"))).await;
    for expected in [[Some("2"), Some("1"), Some("1s")], [Some("2"), Some("0"), Some("2s")]] {
        let answer = world.send(ask(way.stream)).await;
        assert!(answer.is_ok() && !answer.limited);
        assert_eq!(limits(&answer), expected);
    }
    let refused = world.send(ask(way.stream).fallback("spare")).await;
    let error = refused.refusal();
    assert_eq!((error.status(), error.error_type()), (429, "rate_limit_exceeded"));
    assert_eq!(error.retry_after(), Some(Duration::from_secs(1)));
    assert_eq!(limits(&refused), [Some("2"), Some("0"), Some("2s")]);
    assert!(refused.limited);
    assert_eq!(refused.inside().limit_key.as_deref(), Some("global"));
    assert_eq!(refused.inside().attempts, 1, "a fallback would get around the limit");
    assert_eq!(world.upstream.calls(), 2);
}

async fn the_bucket_fills_with_time(way: Way) {
    let world = world(way, two_at_once(json!("global"))).await;
    let allowed = async || world.send(ask(way.stream)).await.is_ok();
    assert_eq!([allowed().await, allowed().await, allowed().await], [true, true, false]);
    tokio::time::advance(Duration::from_millis(999)).await;
    assert!(!allowed().await);
    tokio::time::advance(Duration::from_millis(1)).await;
    assert_eq!([allowed().await, allowed().await], [true, false]);
    tokio::time::advance(Duration::from_secs(60)).await;
    assert_eq!([allowed().await, allowed().await, allowed().await], [true, true, false]);
}

async fn keys_of_every_kind_have_their_own_limits(way: Way) {
    let base = || ask(way.stream);
    for (key, one, other, named) in [
        (json!("api_key"), base().key("a"), base().key("b"), "api_key:a"),
        (json!("user"), base().user("a"), base().user("b"), "user:a"),
        (json!("model"), base(), base().model("other"), "model:m"),
        (
            json!("header:X-Tenant"),
            base().header("x-tenant", "a"),
            base().header("x-tenant", "b"),
            "header:x-tenant:a",
        ),
        (json!("value:seat"), base().header("x-seat", "a"), base().header("x-seat", "b"), "value:seat:a"),
        (json!(["user", "model"]), base().user("a"), base().user("a").model("other"), "user:a|model:m"),
        (json!(["user", "model"]), base().user("a"), base().user("b"), "user:a|model:m"),
    ] {
        let world = world(way, two_at_once(key.clone())).await;
        for _ in 0..2 {
            assert!(world.send(one.clone()).await.is_ok(), "{key}");
        }
        let refused = world.send(one).await;
        assert_eq!(refused.refusal().status(), 429, "{key}");
        assert_eq!(refused.inside().limit_key.as_deref(), Some(named));
        assert!(world.send(other).await.is_ok(), "{key}");
    }
}

async fn those_without_an_api_key_share_one_limit(way: Way) {
    let world = world(way, json!({"requests_per_second": 1, "burst": 1})).await;
    assert!(world.send(ask(way.stream)).await.is_ok());
    assert_eq!(
        world.send(ask(way.stream).model("other")).await.inside().limit_key.as_deref(),
        Some("global")
    );
    assert!(world.send(ask(way.stream).key("k")).await.is_ok());
}

async fn tokens_are_charged_from_the_answers(way: Way) {
    let config = json!({"requests_per_second": 1000, "tokens_per_minute": 10});
    let world = world(way, config).await;
    // Seven tokens each: the second makes a debt of four.
    assert!(world.send(ask(way.stream)).await.is_ok());
    assert!(world.send(ask(way.stream)).await.is_ok());
    let refused = world.send(ask(way.stream)).await;
    assert_eq!((refused.refusal().status(), refused.refusal().error_type()), (429, "rate_limit_exceeded"));
    assert!(refused.refusal().message().contains("token"), "{}", refused.refusal());
    assert_eq!(refused.refusal().retry_after(), Some(Duration::from_secs(30)));
    assert!(refused.limited);
    tokio::time::advance(Duration::from_secs(29)).await;
    assert!(!world.send(ask(way.stream)).await.is_ok());
    tokio::time::advance(Duration::from_secs(1)).await;
    assert!(world.send(ask(way.stream)).await.is_ok());
}

async fn p7_every_attempt_that_reaches_a_provider_counts(way: Way) {
    let world = world(way, two_at_once(json!("global"))).await;
    let answer =
        world.send(ask(way.stream).model("fail").fallback("nobody serves this").fallback("spare")).await;
    assert_eq!((answer.is_ok(), world.upstream.calls()), (true, 2), "one decision for all attempts");
    assert_eq!(limits(&answer), [Some("2"), Some("1"), Some("1s")]);
    let refused = world.send(ask(way.stream)).await;
    assert_eq!(
        refused.refusal().retry_after(),
        Some(Duration::from_secs(1)),
        "two attempts reached a provider"
    );
    tokio::time::advance(Duration::from_secs(1)).await;
    assert!(world.send(ask(way.stream)).await.is_ok());
}

async fn tokens_are_reserved_while_a_request_is_under_way(way: Way) {
    let config = json!({"requests_per_second": 1000, "tokens_per_minute": 100});
    let world = Arc::new(world(way, config).await);
    let gated = || ask(way.stream).model("gated").with("max_tokens", json!(1_000_000));
    let held = tokio::spawn({
        let (world, asked) = (world.clone(), gated());
        async move { world.send_only(asked).await }
    });
    while world.upstream.calls() == 0 {
        tokio::task::yield_now().await;
    }
    let refused = world.send(ask(way.stream)).await;
    assert!(refused.refusal().message().contains("token"), "{}", refused.refusal());
    assert_eq!(
        refused.refusal().retry_after(),
        Some(Duration::from_millis(600)),
        "no more than a full bucket"
    );
    assert!(world.send(gated().key("another").model("m")).await.is_ok());
    world.upstream.gate.add_permits(1);
    assert!(held.await.expect("a task").is_ok());
    assert!(world.send(ask(way.stream)).await.is_ok(), "seven tokens were used, and the rest is free again");
}

async fn a_client_that_leaves_at_the_end_of_a_stream_pays_for_it(kind: Kind) {
    let config = json!({"requests_per_second": 1000, "tokens_per_minute": 7});
    let world = world(Way { kind, stream: true }, config).await;
    let mut chunks = world.client().stream(ask(true).model("late").request()).await.result.expect("a stream");
    for _ in 0..4 {
        chunks.next().await.expect("a chunk").expect("a chunk");
    }
    drop(chunks);
    while !world.client().is_idle() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let refused = world.send(ask(true)).await;
    assert!(refused.refusal().message().contains("token"), "{}", refused.refusal());
}

async fn a_request_that_names_no_header_shares_with_its_like(way: Way) {
    let limit = json!({"requests_per_second": 0.01, "burst": 2, "key": "header:x-tenant"});
    let world = world(way, limit).await;
    assert!(world.send(ask(way.stream)).await.is_ok());
    assert!(world.send(ask(way.stream)).await.is_ok());
    assert!(!world.send(ask(way.stream)).await.is_ok());
    assert!(world.send(ask(way.stream).header("x-tenant", "")).await.is_ok(), "empty is a name");
}

in_every_way! {
    anywhere:
    plain_requests_and_streams_share_one_limit
    a_request_that_names_no_header_shares_with_its_like;
    in_this_process:
    a_full_bucket_rejects
    the_bucket_fills_with_time
    keys_of_every_kind_have_their_own_limits
    those_without_an_api_key_share_one_limit
    tokens_are_charged_from_the_answers
    p7_every_attempt_that_reaches_a_provider_counts
    tokens_are_reserved_while_a_request_is_under_way
}

async fn a_redacted_header_is_no_key(kind: Kind) {
    for header in ["Authorization", "x-api-key", "cookie", "proxy-authorization", "API-Key", "x-goog-api-key"]
    {
        let key = format!("header:{header}");
        for key in [json!(key), json!(["user", key])] {
            let refused = World::build([Builtin::RateLimit.with(kind, json!({"key": key}))]).await;
            let why = refused.err().expect("refused");
            assert!(why.contains(header) && why.contains("redacted"), "{why}");
        }
    }
}

async fn plain_requests_and_streams_share_one_limit(way: Way) {
    let limit = json!({"requests_per_second": 0.01, "burst": 2, "key": "global"});
    let world = world(way, limit).await;
    assert!(world.send(ask(way.stream)).await.is_ok());
    let other = world.send(ask(!way.stream)).await;
    assert_eq!(limits(&other)[..2], [Some("2"), Some("0")]);
    for stream in [false, true] {
        let refused = world.send(ask(stream)).await;
        let error = refused.refusal();
        assert_eq!((error.status(), error.error_type()), (429, "rate_limit_exceeded"));
        assert!(refused.limited && error.retry_after() > Some(Duration::from_secs(90)), "{refused:?}");
    }
    assert_eq!(world.upstream.calls(), 2);
}

async fn concurrent_requests_never_get_one_place_twice(kind: Kind) {
    let config = json!({"requests_per_second": 0.001, "burst": 10, "key": "global"});
    let world = world(Way { kind, stream: false }, config).await;
    let sent = (0..100).map(|at| world.send_only(ask(at % 2 == 0)));
    let answers = futures_util::future::join_all(sent).await;
    assert_eq!(answers.iter().filter(|answer| answer.is_ok()).count(), 10);
    assert_eq!(world.upstream.calls(), 10);
}

in_every_kind! {
    anywhere:
    concurrent_requests_never_get_one_place_twice;
    in_this_process:
    a_client_that_leaves_at_the_end_of_a_stream_pays_for_it
    a_redacted_header_is_no_key
}

#[tokio::test(start_paused = true)]
async fn a_closure_says_whose_limit_it_is() {
    for stream in [false, true] {
        let make = |host| {
            let by_seat = |ctx: &Context<'_>| ctx.header("x-seat").unwrap_or("standing").to_owned();
            RateLimit::builder().requests_per_second(1.0).burst(1).key(by_seat).build(host)
        };
        let world = World::new([PluginSpec::by_hand("rate-limit", make).with_priority(5)]).await;
        assert!(world.send(ask(stream).header("x-seat", "a")).await.is_ok());
        assert_eq!(
            world.send(ask(stream).header("x-seat", "a")).await.inside().limit_key.as_deref(),
            Some("a")
        );
        assert!(world.send(ask(stream)).await.is_ok());
    }
}
