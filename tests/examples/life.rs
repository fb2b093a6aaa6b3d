//! The whole life of a library in one short program: it is found, checked and loaded; every hook is called (plain,
//! streaming, failing, past its timeout, panicking, with a caller that disconnects); it is reloaded and unloaded. The
//! program prints `lived` at its end.
//!
//! `tests/memory.rs` runs it under valgrind as `life FOLDER`. The folder holds the probe's library, and nothing else.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use llmux_core::{
    Client, PluginSpec,
    plugins::{PluginsConfig, Unloaded},
};
use llmux_tests::{
    scripted,
    world::{all, builder, chat, said},
};
use serde_json::{Value, json};

/// Returns the scripts of the probe's instances. Each runs in a request of its own, plain and streaming.
fn scripts() -> Vec<(&'static str, Value)> {
    let tell = |what: &str| json!({"do": "tell", "what": what});
    let look = json!([
        tell("request_id"), tell("header:x"), tell("remaining"), {"do": "state"},
        {"do": "value", "key": "text", "value": "a"}, {"do": "value", "key": "json", "value": {"a": [1]}}, tell("typed:json"),
        {"do": "header", "name": "x-probe", "value": "here"}, {"do": "sleep", "ms": 5},
        {"do": "event", "message": "an event"}, {"do": "count", "label": "l"},
    ]);
    let with = |mut steps: Value, more: Value| {
        let more = more.as_array().expect("steps").clone();
        steps.as_array_mut().expect("steps").extend(more);
        steps
    };
    let every = |steps: Value| {
        json!({
            "counter": "probe_total", "pre": steps, "post": steps, "chunk": steps, "post_stream": steps,
            "complete": steps, "cleanup": steps,
        })
    };
    let chunk = json!({"choices": [{"index": 0, "delta": {"content": "mine"}}]});
    let stream = |then: &str| json!([{"do": "stream", "chunks": [chunk, chunk], "then": then, "metadata": {"k": 1.5}}]);
    vec![
        ("looks", every(with(look.clone(), json!([{"do": "spawn", "task": "tick"}])))),
        (
            "edits",
            json!({
                "pre": [{"do": "set", "pointer": "/temperature", "value": 0.5}, {"do": "remove", "pointer": "/messages/0/role"}],
                "post": [{"do": "set", "pointer": "/choices/0/message/content", "value": "edited"}],
                "chunk": [{"do": "shout"}], "post_stream": [{"do": "emit", "chunk": chunk}],
            }),
        ),
        ("fails", every(with(look.clone(), json!([{"do": "fail", "message": "as told"}])))),
        ("panics", every(with(look.clone(), json!([{"do": "panic", "message": "as told"}])))),
        ("panics twice", every(with(look.clone(), json!([{"do": "panic_with_bomb"}])))),
        (
            "is late",
            every(with(look.clone(), json!([{"do": "hold_mark"}, {"do": "sleep", "ms": 3_600_000}]))),
        ),
        ("is late and panics", every(json!([{"do": "hold_bomb"}, {"do": "sleep", "ms": 3_600_000}]))),
        ("answers", json!({"pre": [{"do": "respond", "body": {"choices": []}, "metadata": {"hit": true}}]})),
        ("answers nonsense", json!({"pre": [{"do": "respond_text", "text": "{"}]})),
        (
            "rejects",
            json!({"pre": [{"do": "reject", "status": 429, "message": "later", "retry_after": 1.5}]}),
        ),
        (
            "recovers",
            json!({"post": [{"do": "convert", "status": 503, "message": "no"}, {"do": "recover", "body": {"choices": []}}]}),
        ),
        ("drops", json!({"chunk": [{"do": "drop"}]})),
        ("replaces", json!({"chunk": [{"do": "replace", "chunks": [chunk, chunk]}]})),
        ("ends", json!({"chunk": [{"do": "end", "status": 500, "message": "over"}]})),
        ("streams", json!({"pre_stream": stream("end")})),
        ("breaks off", json!({"pre_stream": stream("fail")})),
        ("panics in its stream", json!({"pre_stream": stream("panic")})),
        (
            "spawns",
            every(
                json!([{"do": "spawn", "task": "panic"}, {"do": "spawn", "task": "bomb"}, {"do": "sleep", "ms": 20}]),
            ),
        ),
        ("cannot be dropped", json!({"drop_panics": true})),
    ]
}

/// Sends a plain request and a streaming request, and abandons a third request before its end.
async fn ask(client: &Client) {
    client.send(chat("m")).await;
    all(client.stream(chat("m")).await).await;
    let mut left = client.stream(chat("m")).await;
    if let Ok(stream) = &mut left.result {
        stream.next().await;
    }
}

async fn live(folder: PathBuf) {
    let provider = scripted([]);
    let config = PluginsConfig::default()
        .with_dirs(vec![folder])
        .with_allow_insecure_permissions(true)
        .with_drain_timeout(Duration::from_secs(600));
    let client = builder(&provider).plugins(config).build().await.expect("a client");
    let plugins = client.plugins();

    let found = plugins.discover().await.expect("the folder is read");
    let [library] = &found[..] else { panic!("{found:?}") };
    assert_eq!(library.manifest.as_ref().expect("a plugin").name, "probe");

    // One image, used again and again: this instance keeps it alive while the others come and go.
    plugins.load(PluginSpec::path(&library.path).with_name("stays").with_priority(1)).await.expect("loaded");
    for config in [
        json!({"pree": []}),
        json!({"new": [{"do": "fail", "message": "no"}]}),
        json!({"new": [{"do": "panic", "message": "no"}]}),
    ] {
        let refused =
            plugins.load(PluginSpec::path(&library.path).with_name("refused").with_config(config)).await;
        refused.expect_err("it refuses to start");
    }
    for (name, script) in scripts() {
        println!("{name}");
        let spec = PluginSpec::path(&library.path).with_name("probe").with_config(script);
        plugins.load(spec).await.unwrap_or_else(|error| panic!("{name}: {error}"));
        ask(&client).await;
        assert_ne!(plugins.unload("probe").await.expect("unloaded"), Unloaded::Draining, "{name}");
    }

    for generation in 2..4 {
        let changed = plugins.change(vec![llmux_core::plugins::Change::Reload("stays".into())]).await;
        assert_eq!(changed.expect("reloaded")[0].generation, generation);
        assert_eq!(said(&client.send(chat("m")).await), "again");
    }
    let report = client.shutdown(Duration::from_secs(60)).await;
    assert!(report.errors.is_empty(), "{:?}", report.errors);
    println!("{} images retired", plugins.retired().count);
}

fn main() {
    let folder = std::env::args().nth(1).expect("usage: life FOLDER");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build();
    runtime.expect("a runtime").block_on(live(Path::new(&folder).to_owned()));
    println!("lived");
}
