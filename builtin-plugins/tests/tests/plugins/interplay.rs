//! All four plugins together, in the order of their own priorities.

use std::time::Duration;

use llmux_builtin_tests::{Builtin, Kind, Log, Part, Way, World, ask, value};
use serde_json::json;

/// Starts a host with all four plugins, loaded in reverse order.
async fn world(kind: Kind) -> World {
    World::new(all(kind)).await
}

fn all(kind: Kind) -> impl Iterator<Item = Part> {
    let limit = json!({"requests_per_second": 0.001, "burst": 2, "tokens_per_minute": 10});
    Builtin::ALL.into_iter().rev().map(move |plugin| {
        let config = if plugin == Builtin::RateLimit { limit.clone() } else { json!({}) };
        plugin.with(kind, config)
    })
}

async fn a_miss_a_hit_and_a_rejection_are_told_apart_by_all(way: Way) {
    let log = Log::listen(tracing::Level::INFO);
    let world = world(way.kind).await;
    let miss = world.send(ask(way.stream)).await;
    let hit = world.send(ask(way.stream)).await;
    let refused = world.send(ask(way.stream)).await;
    assert_eq!((miss.header("x-cache"), hit.header("x-cache")), (Some("miss"), Some("hit")));
    assert_eq!(miss.bodies, hit.bodies);
    assert_eq!(hit.header("x-ratelimit-remaining-requests"), Some("0"), "a hit counts against the limit");
    assert_eq!(refused.refusal().status(), 429);
    assert!(refused.refusal().retry_after() > Some(Duration::from_secs(900)), "{refused:?}");
    assert_eq!(refused.header("x-cache"), None, "the cache's turn did not come");
    assert_eq!(world.upstream.calls(), 1);

    let outcome = async |outcome| value(&world, "llmux_requests_total", &[("outcome", outcome)]).await;
    let counted = (outcome("success").await, outcome("rate_limit_exceeded").await);
    assert_eq!(counted, (Some(2.0), Some(1.0)));
    let text = world.metrics().await;
    for line in
        ["llmux_cache_hits_total{plugin=\"metrics\"} 1", "llmux_rate_limited_total{plugin=\"metrics\"} 1"]
    {
        assert!(text.contains(line), "{line}: {text}");
    }
    assert_eq!(value(&world, "llmux_tokens_total", &[]).await, Some(7.0), "a hit uses none");

    world.end().await;
    assert_eq!(log.said("request started").len(), 1, "the others were answered before");
    let ends = log.said("request completed");
    let hits: Vec<_> = ends.iter().map(|end| end.field("cache_hit")).collect();
    assert_eq!(hits, [Some("false"), Some("true")]);
    let failed = log.said("request failed");
    assert_eq!(failed.len(), 1, "{:?}", log.events());
    assert_eq!(failed[0].field("rate_limited"), Some("true"));
    assert_eq!(failed[0].field("error_type"), Some("rate_limit_exceeded"));
    assert_eq!(failed[0].field("status"), Some("429"));
    assert_eq!((failed[0].field("provider"), failed[0].field("answered_by")), (None, Some("rate-limit")));
    assert_eq!((ends[1].field("provider"), ends[1].field("answered_by")), (None, Some("cache")));
}

async fn a_hit_is_not_charged_for_tokens(way: Way) {
    let limit = json!({"requests_per_second": 1000, "tokens_per_minute": 10});
    let plugins = [Builtin::RateLimit.with(way.kind, limit), Builtin::Cache.with(way.kind, json!({}))];
    let world = World::new(plugins).await;
    for _ in 0..5 {
        assert!(world.send(ask(way.stream)).await.is_ok());
    }
    assert_eq!(world.upstream.calls(), 1);
}

in_every_way! {
    anywhere:
    a_miss_a_hit_and_a_rejection_are_told_apart_by_all
    a_hit_is_not_charged_for_tokens;
    in_this_process:
}

async fn their_own_priorities_put_them_in_order(kind: Kind) {
    let world = world(kind).await;
    let listed = world.plugins().await;
    let order: Vec<_> = listed.iter().map(|plugin| (&*plugin.name, plugin.priority)).collect();
    assert_eq!(order, [("rate-limit", 5), ("cache", 10), ("metrics", 999), ("logging", 1000)]);
}

async fn an_operator_may_set_another_priority(kind: Kind) {
    let world = World::new([Builtin::Logging.spec(kind, json!({})).with_priority(-7)]).await;
    assert_eq!(world.plugins().await[0].priority, -7);
}

async fn nothing_fails_and_all_clean_up(kind: Kind) {
    let world = world(kind).await;
    for stream in [false, true] {
        for model in ["m", "fail", "cut"] {
            world.send(ask(stream).model(model).key(if model == "m" { "a" } else { "b" })).await;
        }
    }
    for plugin in world.plugins().await {
        assert_eq!(plugin.failures, 0, "{plugin:?}");
    }
    world.end().await;
}

in_every_kind! {
    anywhere:
    their_own_priorities_put_them_in_order
    nothing_fails_and_all_clean_up;
    in_this_process:
    an_operator_may_set_another_priority
}
