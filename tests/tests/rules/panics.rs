//! Rule E5: a panic ends the hook in which it happens, and nothing else.

use llmux_core::{Client, plugins::PluginError};
use llmux_tests::{
    Capture, ScriptedProvider, Turn, World, kinds, scripted,
    world::{all, chat, said},
};
use serde_json::{Value as Json, json};

/// Names of the scripts of all hooks.
const HOOKS: [&str; 6] = ["pre", "post", "pre_stream", "chunk", "post_stream", "complete"];

/// Plays a script in each hook in turn. Each time the request, and one after it, must succeed.
async fn in_every_hook(world: &World, script: Json) {
    for hook in HOOKS {
        let provider = scripted([Turn::text("fine"), Turn::text("fine")]);
        let name = format!("it-{}", hook.replace('_', "-"));
        let witness = world.probe("witness", 1, json!({}));
        let client = world.client(&provider, [witness, world.probe(&name, 2, json!({hook: script}))]).await;
        for round in ["the request", "the one after it"] {
            match hook {
                "pre" | "post" | "complete" => {
                    assert_eq!(said(&client.send(chat("m")).await), "fine", "{hook}: {round}")
                }
                _ => assert_eq!(all(client.stream(chat("m")).await).await, ["fine"], "{hook}: {round}"),
            }
        }
        let report = world.finish(&client).await;
        assert!(report.drained && report.errors.is_empty(), "{hook}: {report:?}");
        assert_eq!(world.count(&format!("{name}.{hook}")), 2, "calls of {hook}: {:#?}", world.lines());
        assert_eq!(world.count(&format!("{name}.drop")), 1, "{hook}: the instance is dropped");
    }
    assert_eq!(world.count("witness.complete"), 2 * HOOKS.len(), "the other plugin is told of every request");
}

async fn client(world: &World, scripts: Json) -> (ScriptedProvider, Client) {
    let provider = scripted([]);
    let client = world.client(&provider, [world.probe("a", 1, scripts)]).await;
    (provider, client)
}

kinds! {
    async fn e5_a_panic_in_a_hook_ends_only_the_hook(world: World) {
        in_every_hook(&world, json!([{"do": "panic", "message": "boom"}])).await;
    }

    async fn e5_a_panic_in_a_later_poll_ends_only_the_hook(world: World) {
        in_every_hook(&world, json!([{"do": "sleep", "ms": 5}, {"do": "panic", "message": "boom"}])).await;
    }

    async fn e5_a_panic_in_the_drop_of_a_cancelled_hook_ends_only_the_hook(world: World) {
        in_every_hook(&world, json!([{"do": "hold_bomb"}, {"do": "sleep", "ms": 3_600_000}])).await;
    }

    async fn e5_a_panic_while_a_hook_returns_ends_only_the_hook(world: World) {
        in_every_hook(&world, json!([{"do": "hold_bomb"}])).await;
    }

    async fn e5_a_payload_that_panics_when_dropped_ends_only_the_hook(world: World) {
        in_every_hook(&world, json!([{"do": "panic_with_bomb"}])).await;
    }

    async fn e5_a_panic_in_the_drop_of_a_hook_whose_caller_left_ends_only_the_hook(world: World) {
        let waits = json!({
            "pre": [{"do": "hold_bomb"}, {"do": "sleep", "ms": 5000}],
            "post": [{"do": "tell", "what": "kind"}],
        });
        let (_provider, client) = client(&world, waits).await;
        world.leave("a.pre", client.send(chat("m"))).await;
        world.finish(&client).await;
        assert_eq!(world.of("post"), ["a", "a kind = error 499 cancelled"]);
    }

    async fn e5_a_panic_in_a_spawned_task_ends_only_the_task(world: World) {
        let spawns = json!({"pre": [{"do": "spawn", "task": "panic"}]});
        let (_provider, client) = client(&world, spawns).await;
        assert_eq!(said(&client.send(chat("m")).await), "again");
        world.wait_for("a.task ended", 1).await;
        assert_eq!(said(&client.send(chat("m")).await), "again");
        assert!(world.finish(&client).await.errors.is_empty());
    }

    async fn e5_a_panic_in_the_drop_of_an_aborted_task_ends_only_the_task(world: World) {
        let spawns = json!({"pre": [{"do": "spawn", "task": "bomb"}]});
        let (_provider, client) = client(&world, spawns).await;
        assert_eq!(said(&client.send(chat("m")).await), "again");
        assert!(world.finish(&client).await.errors.is_empty());
        assert_eq!(world.count("a.task ended"), 1, "the task is gone");
        assert_eq!(world.count("a.drop"), 1, "and the instance");
    }

    async fn e5_a_panic_in_a_stream_of_a_plugins_own_ends_the_stream_with_an_error(world: World) {
        let logs = Capture::llmux();
        let chunk = llmux_testing::turn::chunk(&json!("one"));
        let streams = json!({"pre": [{"do": "stream", "chunks": [chunk], "then": "panic"}]});
        let (_provider, client) = client(&world, streams).await;
        let read = all(client.stream(chat("m").with_request_id("id-7")).await).await;
        assert_eq!(read, ["one", "!500 plugin_failure: a plugin failed while it handled this request"]);
        world.wait_for("a.source dropped", 1).await;
        assert_eq!(world.count("a.source dropped"), 1, "the stream is given back once");
        let named = logs.with(&["WARN", "stream failed", "instance=a", "request_id=id-7"]).len();
        assert_eq!(named, 1, "the log names the plugin: {:#?}", logs.lines());
    }

    async fn e5_a_panic_while_an_instance_is_made_refuses_the_instance(world: World) {
        let (_provider, client) = client(&world, json!({})).await;
        let panics = world.probe("b", 2, json!({"new": [{"do": "panic", "message": "boom"}]}));
        match client.plugins().load(panics).await {
            Err(PluginError::Construction { name, message, .. }) => {
                assert_eq!(name, "b");
                assert!(message.contains("boom"), "{message}");
            }
            other => panic!("{other:?}"),
        }
        assert_eq!(said(&client.send(chat("m")).await), "again");
    }

    async fn e5_a_panic_in_cleanup_is_reported(world: World) {
        let (_provider, client) = client(&world, json!({"cleanup": [{"do": "panic", "message": "boom"}]})).await;
        let report = world.finish(&client).await;
        assert_eq!(report.errors, [("a".to_owned(), "boom".to_owned())]);
        assert_eq!(world.count("a.drop"), 1, "the instance is dropped all the same");
    }

    async fn e5_a_panic_in_the_drop_of_an_instance_ends_nothing_else(world: World) {
        let (_provider, client) = client(&world, json!({"drop_panics": true})).await;
        client.plugins().load(world.probe("b", 2, json!({}))).await.expect("loaded");
        client.plugins().unload("a").await.expect("unloaded");
        assert_eq!(said(&client.send(chat("m")).await), "again");
        assert_eq!(world.count("a.drop"), 1);
        assert_eq!(world.of("pre"), ["b"]);
    }

    async fn e5_a_panic_leaves_other_requests_alone(world: World) {
        let gate = world.text_path("gate");
        let panics = json!({"pre": [
            {"do": "wait_until", "path": gate},
            {"do": "only", "what": "model", "is": "n"},
            {"do": "panic", "message": "boom"},
        ]});
        let (_provider, client) = client(&world, panics).await;
        let others = client.clone();
        let others = tokio::spawn(async move {
            let (first, second) = tokio::join!(others.send(chat("m")), others.send(chat("n")));
            [said(&first), said(&second)]
        });
        world.wait_for("a.pre", 2).await;
        std::fs::write(&gate, "").expect("the gate opens");
        assert_eq!(others.await.expect("no panic reaches the requests"), ["again", "again"]);
    }
}

/// The message of a loaded plugin's panic is in the host's log.
#[tokio::test(start_paused = true)]
async fn e5_a_loaded_plugins_panic_is_in_the_hosts_log() {
    let world = World::new(llmux_tests::Kind::Loaded);
    let logs = Capture::llmux();
    let (_provider, client) = client(&world, json!({"pre": [{"do": "panic", "message": "boom"}]})).await;
    client.send(chat("m")).await;
    let logged = logs.with(&["ERROR", "llmux::plugin", "panicked at", "boom"]);
    assert_eq!(logged.len(), 1, "{:#?}", logs.lines());
}
