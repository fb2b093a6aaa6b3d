//! Rules E4, I2 and I4: a hook that blocks its thread is named; in a child process it stops nothing else, and large bodies
//! reach each hook.

use llmux_core::{Endpoint, Request, pipeline::PipelineConfig};
use llmux_tests::{
    Capture, Kind, World, scripted,
    world::{builder, built, chat, said},
};
use serde_json::json;
use std::{fs, time::Duration};

use crate::isolation::{ask, process};

/// Runs in real time, because the clock that measures a poll must move.
async fn blocks(world: World) {
    let logs = Capture::llmux();
    let provider = scripted([]);
    let plugins = [
        world.probe("blocks", 1, json!({"pre": [{"do": "block", "ms": 30}]})),
        world.probe("quick", 2, json!({})),
    ];
    let client = world.client(&provider, plugins).await;
    // More than the stretches of ten seconds in which a slow machine may send them.
    for _ in 0..5 {
        client.send(chat("m").with_request_id("id-7")).await;
    }
    let warned = logs.with(&["WARN", "blocks the thread"]);
    assert!((1..5).contains(&warned.len()), "{:#?}", logs.lines());
    let names = ["instance=blocks", "hook=pre_hook", "request_id=id-7"];
    assert!(names.iter().all(|name| warned[0].contains(name)), "{warned:?}");
}

#[tokio::test]
async fn e4_a_hook_that_blocks_the_thread_is_named_in_a_warning_compiled() {
    blocks(World::new(Kind::Compiled)).await;
}

#[tokio::test]
async fn e4_a_hook_that_blocks_the_thread_is_named_in_a_warning_loaded() {
    blocks(World::new(Kind::Loaded)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn e4_a_hook_that_blocks_the_thread_is_named_in_a_warning_isolated() {
    blocks(World::new(Kind::Isolated)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn i4_a_hook_that_blocks_stops_no_other_call_of_its_child() {
    let world = World::new(Kind::Isolated);
    let blocks = json!({"pre": [
        {"do": "only", "what": "model", "is": "n"},
        {"do": "touch", "path": world.text_path("blocked")},
        {"do": "block_until", "path": world.text_path("open")},
    ]});
    let client = world.client(&scripted([]), [world.probe("a", 1, blocks)]).await;
    let blocked = tokio::spawn({
        let client = client.clone();
        async move { said(&client.send(chat("n")).await) }
    });
    while !world.path("blocked").exists() {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    for streams in [false, true] {
        assert_eq!(ask(&client, "m", streams).await, ["again"]);
    }
    assert!(!blocked.is_finished(), "it still blocks");
    fs::write(world.path("open"), "").expect("written");
    assert_eq!(blocked.await.expect("it ends"), "again");
    let failures = client.plugins().list()[0].hooks.iter().map(|hook| hook.failures).sum::<u64>();
    assert_eq!((failures, process(&client, "a").deaths.len()), (0, 0));
    world.finish(&client).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn i4_a_hook_that_blocked_and_then_waits_is_cancelled_if_its_time_was_over() {
    let world = World::new(Kind::Isolated);
    let pipeline = PipelineConfig::default().with_pre_hook_timeout(Duration::from_millis(200));
    let blocks = json!({"pre": [
        {"do": "hold_mark"},
        {"do": "block_until", "path": world.text_path("open")},
        {"do": "sleep", "ms": 3_600_000},
    ]});
    let client = built(builder(&scripted([])).pipeline(pipeline), [world.probe("a", 1, blocks)]).await;
    let before = process(&client, "a").pid;
    let asked = tokio::spawn({
        let client = client.clone();
        async move { ask(&client, "m", false).await }
    });
    while client.plugins().list()[0].hooks.iter().all(|hook| hook.timeouts == 0) {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    fs::write(world.path("open"), "").expect("written");
    assert_eq!(asked.await.expect("it ends"), ["again"]);
    world.wait_for("a.pre future dropped", 1).await;
    assert_eq!(process(&client, "a").pid, before, "the same child");
    world.finish(&client).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn i2_a_large_body_reaches_each_hook_of_a_request_with_the_edits_before() {
    let world = World::new(Kind::Isolated);
    let provider = scripted([]);
    let reads = |what: &str| json!({"do": "tell", "what": what});
    let first =
        json!({"pre": [reads("body:/model"), {"do": "set", "pointer": "/messages/1/name", "value": "ann"}]});
    let second = json!({
        "pre": [reads("body:/messages/1/name"), reads("body:/stop")],
        "post": [reads("request:/messages/1/name")],
        "complete": [reads("request:/messages/0/content")],
    });
    let client = world.client(&provider, [world.probe("a", 1, first), world.probe("b", 2, second)]).await;
    // Parts of the message, the memory for large bodies, and bodies that are larger than its parts.
    let sizes = [100, 20_000, 300_000, 600_000];
    // More requests than the memory has parts.
    for round in 0..10 {
        let size = sizes[round % sizes.len()];
        let content = |letter: &str| json!({"role": "user", "content": letter.repeat(size)});
        let body = json!({"model": "m", "messages": [content("x"), content("y")], "stop": round});
        let request = Request::new(Endpoint::ChatCompletions, body.to_string()).expect("a request");
        assert_eq!(said(&client.send(request).await), "again", "{size}");
        world.wait_for("b.complete", round + 1).await;
        let sent = &provider.calls()[round];
        assert_eq!(sent["messages"][0], body["messages"][0], "{size}");
        assert_eq!(sent["messages"][1]["name"], "ann", "{size}");
    }
    world.finish(&client).await;
    let seen = world.lines();
    for round in 0..10 {
        assert!(seen.contains(&format!("b.pre body:/stop = {round}")));
        let line = format!(
            "b.complete request:/messages/0/content = \"{}\"",
            "x".repeat(sizes[round % sizes.len()])
        );
        assert!(seen.contains(&line), "{round}");
    }
    for line in [
        "a.pre body:/model = \"m\"",
        "b.pre body:/messages/1/name = \"ann\"",
        "b.post request:/messages/1/name = \"ann\"",
    ] {
        assert_eq!(seen.iter().filter(|it| *it == line).count(), 10, "{line}");
    }
}
