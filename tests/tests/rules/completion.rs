//! Rules C1 and C2: `on_complete` of every instance at the end of a request, and `cleanup` at the end of an instance.

use llmux_tests::{
    Turn, kinds, scripted, turn,
    world::{all, builder, built, chat, said},
};
use serde_json::json;

fn tells() -> serde_json::Value {
    let tell = |what: &str| json!({"do": "tell", "what": what});
    json!([tell("ending"), tell("status")])
}

kinds! {
    async fn c1_on_complete_runs_once_for_every_instance_whatever_came_of_the_request(world: World) {
        let answer = turn::response(&json!("mine"));
        let cases = [
            ("answered", json!([]), Turn::text("fine"), "completed", 200),
            ("provider-error", json!([]), Turn::error(503, "down"), "failed 503 upstream_type", 503),
            ("refused", json!([{"do": "reject", "status": 429, "message": "no"}]), Turn::hang(), "failed 429 scripted", 429),
            ("short-circuit", json!([{"do": "respond", "body": answer}]), Turn::hang(), "completed", 200),
        ];
        for (case, pre, turn, ending, status) in cases {
            for streams in [false, true] {
                let provider = scripted([turn.clone()]);
                let (first, last) = (format!("{case}.{streams}.a"), format!("{case}.{streams}.z"));
                let plugins = [
                    world.probe(&first, 1, json!({"pre": pre, "complete": tells()})),
                    world.probe(&last, 2, json!({"complete": tells()})),
                ];
                let client = world.client(&provider, plugins).await;
                if streams {
                    all(client.stream(chat("m")).await).await;
                } else {
                    client.send(chat("m")).await;
                }
                world.finish(&client).await;
                for name in [first, last] {
                    assert_eq!(world.count(&format!("{name}.complete")), 1, "calls of {name}");
                    assert_eq!(world.count(&format!("{name}.complete ending = {ending}")), 1, "{name}: {:?}", world.lines());
                    assert_eq!(world.count(&format!("{name}.complete status = {status}")), 1, "{name}: {:?}", world.lines());
                }
            }
        }
    }

    async fn c1_on_complete_runs_once_for_a_request_that_was_cancelled(world: World) {
        let provider = scripted([Turn::hang(), Turn::stall(vec![json!("one")])]);
        let scripts = json!({"complete": tells()});
        let client = world.client(&provider, [world.probe("a", 1, scripts)]).await;
        world.leave("a.pre", client.send(chat("m"))).await;
        let mut stream = client.stream(chat("m")).await.result.expect("a stream");
        stream.next().await.expect("a chunk").expect("a chunk");
        drop(stream);
        world.finish(&client).await;
        let one = ["a", "a ending = cancelled", "a status = 499"];
        assert_eq!(world.of("complete"), [one, one].concat());
    }

    async fn c1_on_complete_runs_once_for_a_request_and_not_for_each_attempt(world: World) {
        for streams in [false, true] {
            let provider = scripted([Turn::error(500, "down"), Turn::error(500, "down"), Turn::text("up")]);
            let name = format!("it.{streams}");
            let plugin = world.probe(&name, 1, json!({"complete": [{"do": "tell", "what": "attempt"}]}));
            let client = built(builder(&provider).fallbacks("m", ["n", "o"]), [plugin]).await;
            if streams {
                assert_eq!(all(client.stream(chat("m")).await).await, ["up"]);
            } else {
                assert_eq!(said(&client.send(chat("m")).await), "up");
            }
            world.finish(&client).await;
            assert_eq!(world.count(&format!("{name}.complete")), 1, "streams: {streams}");
            assert_eq!(world.count(&format!("{name}.complete attempt = 3")), 1, "streams: {streams}");
        }
    }

    async fn c1_on_complete_sees_timing_and_usage(world: World) {
        use std::time::Duration;
        let later = |turn| Turn::after(turn, Duration::from_secs(3));
        let provider = scripted([
            later(Turn::text("fine")),
            later(Turn::paced(vec![json!("one"), json!("two"), turn::usage_chunk()])),
        ]);
        let what = ["latency", "first_chunk", "chunks", "usage"].map(|what| json!({"do": "tell", "what": what}));
        let client = world.client(&provider, [world.probe("a", 1, json!({"complete": what}))]).await;
        client.send(chat("m")).await;
        all(client.stream(chat("m")).await).await;
        world.finish(&client).await;
        let expected = [
            "a", "a latency = 3s", "a first_chunk = -", "a chunks = -", "a usage = 7",
            "a", "a latency = 5s", "a first_chunk = 3s", "a chunks = 2", "a usage = 7",
        ];
        assert_eq!(world.of("complete"), expected, "on a clock that is held");
    }

    async fn c1_on_complete_runs_after_the_caller_has_the_answer(world: World) {
        let provider = scripted([]);
        let slow = json!({"complete": [{"do": "sleep", "ms": 5000}]});
        let client = world.client(&provider, [world.probe("a", 1, slow)]).await;
        let begun = tokio::time::Instant::now();
        assert_eq!(said(&client.send(chat("m")).await), "again");
        assert_eq!(begun.elapsed().as_secs(), 0, "the caller waits for nobody's on_complete");
        assert_eq!(world.of("complete"), Vec::<String>::new());
    }

    async fn c1_on_complete_can_change_nothing(world: World) {
        let provider = scripted([]);
        let tries = json!({"complete": [{"do": "value", "key": "k", "value": 1}]});
        let sees = json!({"complete": [{"do": "tell", "what": "value:k"}]});
        let client = world.client(&provider, [world.probe("a", 1, sees), world.probe("b", 2, tries)]).await;
        client.send(chat("m")).await;
        world.finish(&client).await;
        assert_eq!(world.of("complete"), [
            "b",
            "b refused: cannot set the value `k`: it is too late for this change",
            "a",
            "a value:k = -",
        ]);
    }

    async fn c2_cleanup_runs_once_at_unload_after_the_last_hook(world: World) {
        let provider = scripted([]);
        let slow = json!({"complete": [{"do": "state"}, {"do": "sleep", "ms": 2000}, {"do": "tell", "what": "status"}]});
        let client = world.client(&provider, [world.probe("a", 1, slow)]).await;
        client.send(chat("m")).await;
        client.plugins().unload("a").await.expect("unloaded");
        world.finish(&client).await;
        let end: Vec<String> = world.lines().split_off(3);
        let expected =
            ["a.complete", "a.complete state = 1", "a.complete status = 200", "a.state dropped at 1", "a.cleanup", "a.drop"];
        assert_eq!(end, expected);
    }

    async fn c2_cleanup_runs_once_at_shutdown(world: World) {
        let provider = scripted([]);
        let client = world.client(&provider, [world.probe("a", 1, json!({})), world.probe("b", 2, json!({}))]).await;
        client.plugins().change(vec![llmux_core::plugins::Change::Disable("b".into())]).await.expect("disabled");
        world.finish(&client).await;
        world.finish(&client).await;
        assert_eq!(world.of("cleanup"), ["b", "a"], "the disabled one too");
        assert_eq!(world.of("drop"), ["b", "a"]);
    }
}
