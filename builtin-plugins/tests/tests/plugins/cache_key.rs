//! The cache key: requests that share a cached answer, and requests that do not.

use llmux_builtin_tests::{Builtin, Way, World, ask};
use llmux_core::{Endpoint, Request};
use serde_json::{Value, json};

use crate::neighbors;

async fn world(way: Way, config: Value) -> World {
    World::new([Builtin::Cache.with(way.kind, config)]).await
}

async fn what_cannot_change_the_answer_does_not_count(way: Way) {
    let world = world(way, json!({})).await;
    world.send(ask(way.stream).with("temperature", json!(1))).await;
    for (member, value) in [
        ("user", json!("ann")),
        ("metadata", json!({"a": "b"})),
        ("stream_options", json!({"include_usage": true})),
        ("stream", json!(!way.stream)),
    ] {
        let asked = ask(way.stream).with("temperature", json!(1)).with(member, value);
        assert!(world.send(asked).await.hit, "{member}");
    }
    assert_eq!(world.upstream.calls(), 1);
}

/// Sends a request whose exact text matters.
async fn send(world: &World, way: Way, request: Request) {
    if way.stream {
        let mut chunks = world.client().stream(request).await.result.expect("a stream");
        while chunks.next().await.is_some() {}
    } else {
        world.client().send(request).await.result.expect("an answer");
    }
    world.settle().await;
}

async fn the_order_of_members_and_white_space_do_not_count(way: Way) {
    let world = world(way, json!({})).await;
    let bodies = [
        r#"{"model":"m","messages":[{"role":"user","content":"hi"}],"top_p":0.5}"#,
        "{ \"top_p\": 0.5,\n\"messages\": [ {\"content\":\"hi\", \"role\":\"user\"} ], \"model\" : \"m\" }",
    ];
    for body in bodies {
        let request = Request::new(Endpoint::ChatCompletions, body).expect("a request");
        send(&world, way, request).await;
    }
    assert_eq!(world.upstream.calls(), 1);
}

async fn what_can_change_the_answer_counts(way: Way) {
    let world = world(way, json!({})).await;
    let with = |member: &str, value: Value| ask(way.stream).with(member, value);
    let all = [
        ask(way.stream),
        ask(way.stream).model("other"),
        with("temperature", json!(0)),
        with("temperature", json!(0.1)),
        with("tools", json!([{"type": "function", "function": {"name": "f"}}])),
        with("tools", json!([{"type": "function", "function": {"name": "g"}}])),
        with("tool_choice", json!("none")),
        with("response_format", json!({"type": "json_object"})),
        with("messages", json!([{"role": "system", "content": "hello"}])),
        with("max_tokens", json!(1)),
        with("seed", json!(1)),
        with("n", json!(2)),
        with("something_new", json!(1)),
        ask(way.stream).key("a"),
        ask(way.stream).key("b"),
    ];
    for (at, asked) in all.iter().enumerate() {
        assert!(!world.send(asked.clone()).await.hit, "{}", asked.body);
        assert_eq!(world.upstream.calls(), at + 1);
    }
    for asked in all {
        assert!(world.send(asked.clone()).await.hit, "{}", asked.body);
    }
}

async fn tenants_share_only_where_the_operator_says_so(way: Way) {
    for shared in [false, true] {
        let world = world(way, json!({"shared": shared})).await;
        world.send(ask(way.stream).key("a")).await;
        assert_eq!(world.send(ask(way.stream).key("b")).await.hit, shared);
        assert_eq!(world.send(ask(way.stream)).await.hit, shared);
        assert!(world.send(ask(way.stream).key("a")).await.hit);
    }
}

async fn the_parts_that_the_operator_names_tell_answers_apart(way: Way) {
    let world = world(way, json!({"vary": ["header:X-Tier", "user"]})).await;
    let base = || ask(way.stream).key("k");
    let all = [
        base(),
        base().header("x-tier", ""),
        base().header("x-tier", "gold"),
        base().user("gold"),
        base().user("ann").header("x-tier", "gold"),
    ];
    for (at, asked) in all.iter().enumerate() {
        assert!(!world.send(asked.clone()).await.hit, "{at}");
    }
    for asked in all {
        assert!(world.send(asked.clone().header("x-other", "counts not")).await.hit);
    }
}

async fn a_value_counts_as_it_is_at_the_caches_turn(way: Way) {
    let vary = json!({"vary": ["value:seat"]});
    for (priority, counts) in [(5, true), (20, false)] {
        let seats = neighbors::seats().with_priority(priority);
        let world = World::new([seats, Builtin::Cache.spec(way.kind, vary.clone())]).await;
        assert!(!world.send(ask(way.stream).header("x-seat", "a")).await.hit);
        let other = world.send(ask(way.stream).header("x-seat", "b")).await;
        assert_eq!(other.hit, !counts, "set at {priority}");
    }
}

async fn another_endpoint_is_another_request(way: Way) {
    let world = world(way, json!({})).await;
    let body = r#"{"model":"m","prompt":"hi","messages":[]}"#;
    for endpoint in [Endpoint::ChatCompletions, Endpoint::Completions] {
        let request = Request::new(endpoint, body).expect("a request");
        send(&world, way, request).await;
    }
    assert_eq!(world.upstream.calls(), 2);
}

in_every_way! {
    anywhere:
    what_cannot_change_the_answer_does_not_count
    what_can_change_the_answer_counts
    tenants_share_only_where_the_operator_says_so;
    in_this_process:
    the_parts_that_the_operator_names_tell_answers_apart
    a_value_counts_as_it_is_at_the_caches_turn
    the_order_of_members_and_white_space_do_not_count
    another_endpoint_is_another_request
}
