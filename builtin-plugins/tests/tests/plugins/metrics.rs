//! The metrics plugin: its counts, their names, and the data that the host receives.

use std::sync::{Arc, Mutex};

use llmux_builtin_tests::{Builtin, Kind, Way, World, ask, value};
use llmux_core::PluginSpec;
use llmux_plugin_metrics::{Metrics, RequestMetrics, RequestOutcome, Stats};
use serde_json::json;

async fn world(kind: Kind) -> World {
    World::new([Builtin::Metrics.with(kind, json!({}))]).await
}

const WHO: [(&str, &str); 3] = [("endpoint", "chat/completions"), ("model", "m"), ("provider", "p")];

async fn a_request_is_counted_and_timed(way: Way) {
    let world = world(way.kind).await;
    for _ in 0..3 {
        world.send(ask(way.stream)).await;
    }
    let mut with_outcome = WHO.to_vec();
    with_outcome.push(("outcome", "success"));
    assert_eq!(value(&world, "llmux_requests_total", &with_outcome).await, Some(3.0));
    assert_eq!(value(&world, "llmux_request_duration_seconds_count", &WHO).await, Some(3.0));
    let first = value(&world, "llmux_time_to_first_token_seconds_count", &WHO).await;
    assert_eq!(first, way.stream.then_some(3.0));
    assert_eq!(value(&world, "llmux_tokens_total", &[("type", "prompt")]).await, Some(9.0));
    assert_eq!(value(&world, "llmux_tokens_total", &[("type", "completion")]).await, Some(12.0));
    let text = world.metrics().await;
    for kind in [
        "llmux_requests_total counter",
        "llmux_request_duration_seconds histogram",
        "llmux_tokens_total counter",
    ] {
        assert!(text.contains(&format!("# TYPE {kind}")), "{kind}: {text}");
    }
}

async fn failures_are_counted_by_kind(way: Way) {
    let world = world(way.kind).await;
    world.send(ask(way.stream).model("fail")).await;
    world.send(ask(way.stream).model("nobody serves this")).await;
    let outcome = async |outcome| value(&world, "llmux_requests_total", &[("outcome", outcome)]).await;
    assert_eq!((outcome("teapot").await, outcome("invalid_request_error").await), (Some(1.0), Some(1.0)));
    let nobodys = [("provider", "none"), ("model", "unknown")];
    assert_eq!(value(&world, "llmux_requests_total", &nobodys).await, Some(1.0));
    assert_eq!(outcome("success").await, None);
}

async fn one_who_goes_away_is_counted_as_cancelled(way: Way) {
    let world = world(way.kind).await;
    world.leave(ask(way.stream).model("hang")).await;
    assert_eq!(value(&world, "llmux_requests_total", &[("outcome", "cancelled")]).await, Some(1.0));
}

async fn fallback_attempts_are_one_request(way: Way) {
    let world = world(way.kind).await;
    world.send(ask(way.stream).model("fail").fallback("spare")).await;
    assert_eq!(value(&world, "llmux_requests_total", &[]).await, Some(1.0));
    assert_eq!(value(&world, "llmux_requests_total", &[("model", "spare")]).await, Some(1.0));
}

async fn invented_names_take_no_place_of_a_real_one(way: Way) {
    let world = world(way.kind).await;
    for at in 0..1_010 {
        world.send_only(ask(way.stream).model(&format!("made-up-{at}"))).await;
        if at % 100 == 0 {
            world.settle().await;
        }
    }
    while value(&world, "llmux_requests_total", &[]).await < Some(1_010.0) {
        world.settle().await;
    }
    world.send(ask(way.stream)).await;
    let of_model = async |model| value(&world, "llmux_requests_total", &[("model", model)]).await;
    assert_eq!((of_model("unknown").await, of_model("m").await), (Some(1_010.0), Some(1.0)));
    let text = world.metrics().await;
    let models = text.lines().filter(|line| line.starts_with("llmux_requests_total{")).count();
    assert_eq!(models, 2);
}

async fn f10_the_models_of_a_provider_without_a_list_are_one_label(way: Way) {
    let world = World::of_every_model([Builtin::Metrics.spec(way.kind, json!({}))]).await;
    for model in ["one-name", "another-name"] {
        assert!(world.send(ask(way.stream).model(model)).await.is_ok());
    }
    let labels = [("model", "other"), ("provider", "p"), ("outcome", "success")];
    assert_eq!(value(&world, "llmux_requests_total", &labels).await, Some(2.0));
    let text = world.metrics().await;
    assert!(!text.contains("-name"), "the names are clients' own: {text}");
}

async fn the_speed_of_an_answer_is_measured(way: Way) {
    let world = world(way.kind).await;
    world.send(ask(way.stream).model("slow")).await;
    world.send(ask(way.stream).model("fail")).await;
    assert_eq!(
        value(&world, "llmux_tokens_per_second_count", &[]).await,
        Some(1.0),
        "a failure has no speed"
    );
    let speed = value(&world, "llmux_tokens_per_second_sum", &[("model", "slow")]).await.expect("a speed");
    assert!((speed - 2.0).abs() < 0.01, "four tokens in two seconds are not {speed} a second");
}

in_every_way! {
    anywhere:
    a_request_is_counted_and_timed
    failures_are_counted_by_kind
    one_who_goes_away_is_counted_as_cancelled
    fallback_attempts_are_one_request;
    in_this_process:
    invented_names_take_no_place_of_a_real_one
    f10_the_models_of_a_provider_without_a_list_are_one_label
    the_speed_of_an_answer_is_measured
}

async fn the_figures_go_with_the_instance(kind: Kind) {
    let world = world(kind).await;
    world.send(ask(false)).await;
    world.client().plugins().unload("metrics").await.expect("unloaded");
    assert_eq!(value(&world, "llmux_requests_total", &[]).await, None);
}

async fn a_host_without_export_shows_nothing(kind: Kind) {
    let world = World::new([Builtin::Metrics.with(kind, json!({"export": false}))]).await;
    world.send(ask(false)).await;
    assert_eq!(value(&world, "llmux_requests_total", &[]).await, None);
}

in_every_kind! {
    anywhere:
    a_host_without_export_shows_nothing;
    in_this_process:
    the_figures_go_with_the_instance
}

/// Some figures of a request, kept after it.
struct Heard {
    key_id: Option<String>,
    user: Option<String>,
    is_streaming: bool,
    outcome: RequestOutcome,
    status: u16,
    rate_limited: bool,
}

#[tokio::test(start_paused = true)]
async fn a_host_reads_snapshots_and_hears_of_each_request() {
    for stream in [false, true] {
        let stats = Stats::default();
        let heard = Arc::<Mutex<Vec<Heard>>>::default();
        let (counted, hears) = (stats.clone(), Arc::clone(&heard));
        let make = move |host| {
            let hear = move |request: &RequestMetrics<'_>| {
                hears.lock().expect("heard").push(Heard {
                    key_id: request.key_id.map(str::to_owned),
                    user: request.user.map(str::to_owned),
                    is_streaming: request.is_streaming,
                    outcome: request.outcome.clone(),
                    status: request.status,
                    rate_limited: request.rate_limited,
                });
            };
            Metrics::builder().stats(counted).on_request(hear).build(host)
        };
        let metrics = PluginSpec::by_hand("metrics", make).with_priority(999);
        let limit = Builtin::RateLimit.with(Kind::Compiled, json!({"requests_per_second": 0.01, "burst": 3}));
        let cache = Builtin::Cache.with(Kind::Compiled, json!({}));
        let world = World::new([metrics.into(), limit, cache]).await;
        world.send(ask(stream).key("k").user("ann")).await;
        world.send(ask(stream).key("k")).await;
        world.send(ask(stream).key("k").model("fail")).await;
        world.send(ask(stream).key("k")).await;
        let snapshot = stats.snapshot();
        let all = &snapshot.all;
        assert_eq!((all.requests, all.successes, all.cache_hits, all.rate_limited), (4, 2, 1, 1));
        assert_eq!((all.failures["teapot"], all.failures["rate_limit_exceeded"]), (1, 1));
        assert_eq!((all.prompt_tokens, all.completion_tokens, all.total_tokens), (3, 4, 7));
        assert_eq!((snapshot.models["m"].requests, snapshot.models["fail"].requests), (3, 1));
        assert_eq!((snapshot.providers["p"].requests, snapshot.providers["none"].requests), (2, 2));
        assert_eq!(all.latency_ms.count, 4);
        assert_eq!(all.first_token_ms.count, if stream { 2 } else { 0 });
        let heard = heard.lock().expect("heard");
        let outcomes: Vec<&str> = heard.iter().map(|request| request.outcome.as_str()).collect();
        assert_eq!(outcomes, ["success", "success", "teapot", "rate_limit_exceeded"]);
        assert_eq!((heard[0].key_id.as_deref(), heard[0].user.as_deref()), (Some("k"), Some("ann")));
        assert_eq!((heard[3].status, heard[3].rate_limited), (429, true));
        assert_eq!((heard[0].is_streaming, &heard[0].outcome), (stream, &RequestOutcome::Success));
        stats.reset();
        assert_eq!(stats.snapshot().all.requests, 0);
    }
}

#[tokio::test(start_paused = true)]
async fn percentiles_are_those_of_the_requests() {
    let stats = Stats::default();
    let counted = stats.clone();
    let make = move |host| Metrics::builder().stats(counted).build(host);
    let world = Arc::new(World::new([PluginSpec::by_hand("metrics", make)]).await);
    let sent: Vec<_> = (0..100)
        .map(|_| {
            let world = Arc::clone(&world);
            tokio::spawn(async move { world.send_only(ask(false).model("gated")).await })
        })
        .collect();
    world.settle().await;
    // One answer every 10 ms: latencies of 10 ms, 20 ms, up to a second.
    for _ in 0..100 {
        tokio::time::advance(std::time::Duration::from_millis(10)).await;
        world.upstream.gate.add_permits(1);
        world.settle().await;
    }
    for sent in sent {
        sent.await.expect("an answer");
    }
    world.settle().await;
    let latency = stats.snapshot().all.latency_ms;
    for (found, expected) in [(latency.p50, 500.0), (latency.p95, 950.0), (latency.p99, 990.0)] {
        assert!((found - expected).abs() <= 2.0, "{found} for {expected}");
    }
}
