//! Rules O1 to O5: the order of instances, and the version of the pipeline that a request uses.

use std::time::Duration;

use llmux_core::{
    Client,
    plugins::{Change, PluginsConfig, Unloaded},
};
use llmux_tests::{
    Turn, World, kinds, scripted,
    world::{all, builder, built, chat, plugins, read, said, text},
};
use serde_json::json;
use tokio::time::Instant;

/// Longest time for which a retired instance is held, in seconds.
const MAX_DRAIN: u64 = 420;
const ENDED: &str =
    "!503 pipeline_closed: the plugins of this request were replaced or unloaded too long ago; send it again";

/// Returns a client with the plugins `a` and `b`, and the fallback `o` of the model `m`.
async fn drained(world: &World, turns: Vec<Turn>) -> (llmux_testing::ScriptedProvider, Client) {
    let provider = scripted(turns);
    let config = plugins().with_max_drain(Duration::from_secs(MAX_DRAIN));
    let builder = builder(&provider).plugins(config).fallbacks("m", ["o"]);
    let plugins = [world.probe("a", 1, json!({})), world.probe("b", 2, json!({}))];
    let client = built(builder, plugins).await;
    (provider, client)
}

kinds! {
    async fn o1_pre_hooks_run_lowest_first_and_post_hooks_in_reverse(world: World) {
        let provider = scripted([]);
        let plugins =
            [("b", 20), ("a", -5), ("c", 30)].map(|(name, priority)| world.probe(name, priority, json!({})));
        let client = world.client(&provider, plugins).await;
        client.send(chat("m")).await;
        let expected = ["a.pre", "b.pre", "c.pre", "c.post", "b.post", "a.post"];
        assert_eq!(world.chain(), expected, "the chain of a request");
    }

    async fn o1_equal_priorities_keep_the_order_of_registration(world: World) {
        let provider = scripted([]);
        let plugins = ["z", "m", "a"].map(|name| world.probe(name, 7, json!({})));
        let client = world.client(&provider, plugins).await;
        // An enabled instance goes back to its place.
        client.plugins().change(vec![Change::Disable("z".into())]).await.expect("disabled");
        client.plugins().change(vec![Change::Enable("z".into())]).await.expect("enabled");
        client.send(chat("m")).await;
        assert_eq!(world.of("pre"), ["z", "m", "a"], "the pre chain");
        assert_eq!(world.of("post"), ["a", "m", "z"], "the post chain");
    }

    async fn o2_a_stream_keeps_its_snapshot(world: World) {
        let provider = scripted([Turn::paced(vec![json!("one"), json!("two")])]);
        let client = world.client(&provider, [world.probe("a", 1, json!({"chunk": [{"do": "shout"}]}))]).await;
        let mut stream = client.stream(chat("m")).await.result.expect("a stream");
        let first = stream.next().await.expect("a chunk").expect("a chunk");
        client.plugins().load(world.probe("b", 2, json!({}))).await.expect("loaded");
        assert_eq!(client.plugins().unload("a").await.expect("an instance"), Unloaded::Draining);
        assert_eq!(text(&first), "ONE");
        assert_eq!(read(&mut stream).await, ["TWO"], "the unloaded plugin still acts on its stream");
        drop(stream);
        assert_eq!(world.of("post_stream"), ["a"], "the end is told to the snapshot's instances alone");
        client.send(chat("m")).await;
        assert_eq!(world.of("pre"), ["b"], "a request after the change");
    }

    async fn o2_a_plain_request_that_holds_a_retired_instance_for_too_long_is_ended(world: World) {
        let (provider, client) = drained(&world, vec![Turn::hang(), Turn::hang()]).await;
        let send = |model: &'static str| {
            let client = client.clone();
            tokio::spawn(async move { said(&client.send(chat(model)).await) })
        };
        let old = send("m");
        world.wait_for("b.pre", 1).await;
        let begun = Instant::now();
        assert_eq!(client.plugins().unload("a").await.expect("an instance"), Unloaded::Draining);
        let new = send("n");
        assert_eq!(old.await.expect("no panic"), ENDED);
        assert_eq!(begun.elapsed().as_secs(), MAX_DRAIN, "seconds of a clock that is held");
        world.wait_for("a.drop", 1).await;
        assert_eq!(world.of("post"), ["b", "a"], "the post hooks see the error");
        let (of_a, end) = (world.of("complete"), world.of("cleanup"));
        assert_eq!((of_a, end), (vec!["b".to_owned(), "a".to_owned()], vec!["a".to_owned()]));
        assert_eq!(provider.calls().len(), 2, "no fallback follows");
        assert!(!new.is_finished(), "a request without the instance goes on");
        assert_eq!(PluginsConfig::default().max_drain.as_secs(), 3600, "the default");
    }

    async fn o2_a_stream_that_nobody_reads_is_ended_and_says_so(world: World) {
        let (_, client) = drained(&world, vec![Turn::many(100)]).await;
        let mut stream = client.stream(chat("m")).await.result.expect("a stream");
        stream.next().await.expect("a chunk").expect("a chunk");
        assert_eq!(client.plugins().unload("a").await.expect("an instance"), Unloaded::Draining);
        tokio::time::sleep(Duration::from_secs(MAX_DRAIN)).await;
        world.wait_for("a.drop", 1).await;
        assert_eq!(world.of("post_stream"), ["b", "a"], "each has seen the end");
        assert_eq!(world.count("a.cleanup"), 1);
        let rest = read(&mut stream).await;
        let (last, before) = rest.split_last().expect("an item");
        assert_eq!(last, ENDED);
        assert!(before.len() < 20, "only what was waiting for the reader: {before:?}");
    }

    async fn o2_a_stream_whose_provider_is_silent_is_ended_with_an_error_event(world: World) {
        let (_, client) = drained(&world, vec![Turn::stall(vec![json!("one")])]).await;
        let stream = client.stream(chat("m")).await;
        let reading = tokio::spawn(async move { all(stream).await });
        assert_eq!(client.plugins().unload("a").await.expect("an instance"), Unloaded::Draining);
        assert_eq!(reading.await.expect("no panic"), ["one", ENDED]);
        world.wait_for("a.drop", 1).await;
    }

    async fn o2_a_request_that_waits_in_a_hook_is_not_changed_by_a_load(world: World) {
        let gate = world.text_path("gate");
        let provider = scripted([]);
        let waits = world.probe("a", 1, json!({"pre": [{"do": "wait_until", "path": gate}]}));
        let client = world.client(&provider, [waits]).await;
        let sender = client.clone();
        let request = tokio::spawn(async move { said(&sender.send(chat("m")).await) });
        world.wait_for("a.pre", 1).await;
        client.plugins().load(world.probe("late", 2, json!({}))).await.expect("loaded");
        std::fs::write(&gate, "").expect("the gate opens");
        assert_eq!(request.await.expect("no panic"), "again");
        world.finish(&client).await;
        assert_eq!(world.calls().iter().filter(|line| line.starts_with("late")).count(), 1, "{:?}", world.calls());
        assert_eq!(world.of("cleanup"), ["late", "a"], "the one call of `late` is its cleanup");
    }

    async fn o3_post_hooks_run_up_to_the_one_that_short_circuited(world: World) {
        let provider = scripted([]);
        let answers = json!({"pre": [{"do": "reject", "status": 429, "message": "slow"}]});
        let plugins = [world.probe("a", 1, json!({})), world.probe("b", 2, answers), world.probe("c", 3, json!({}))];
        let client = world.client(&provider, plugins).await;
        client.send(chat("m")).await;
        assert_eq!(world.chain(), ["a.pre", "b.pre", "b.post", "a.post"], "the chain of a request");
        all(client.stream(chat("m")).await).await;
        assert_eq!(world.of("post_stream"), ["b", "a"], "the ends of a stream");
    }

    async fn o3_one_whose_pre_hook_failed_counts(world: World) {
        let provider = scripted([]);
        for (name, step) in [("fails", "fail"), ("panics", "panic")] {
            let client = world
                .client(&provider, [world.probe(name, 1, json!({"pre": [{"do": step, "message": "no"}]}))])
                .await;
            client.send(chat("m")).await;
            assert!(world.of("post").contains(&name.to_owned()), "no post hook of the instance that {name}");
        }
    }

    async fn o4_the_way_back_is_always_descending(world: World) {
        let provider = scripted([Turn::say(vec![json!("one"), json!("two")])]);
        let plugins = ["a", "b", "c"].map(|name| world.probe(name, 1, json!({})));
        let client = world.client(&provider, plugins).await;
        all(client.stream(chat("m")).await).await;
        world.finish(&client).await;
        assert_eq!(world.of("pre_stream"), ["a", "b", "c"], "before the stream");
        assert_eq!(world.of("chunk"), ["c", "b", "a", "c", "b", "a"], "each chunk");
        for hook in ["post_stream", "complete", "cleanup"] {
            assert_eq!(world.of(hook), ["c", "b", "a"], "{hook}");
        }
    }

    async fn o5_any_priority_is_valid(world: World) {
        let provider = scripted([]);
        let plugins = [("last", i32::MAX), ("first", i32::MIN), ("middle", 0)];
        let plugins = plugins.map(|(name, priority)| world.probe(name, priority, json!({})));
        let client = world.client(&provider, plugins).await;
        client.send(chat("m")).await;
        assert_eq!(world.of("pre"), ["first", "middle", "last"]);
    }
}
