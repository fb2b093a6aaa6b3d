//! Rules L1 to L3: the list of instances, its changes, its shutdown.

use std::time::Duration;

use llmux_core::{
    ErrorKind,
    pipeline::PipelineConfig,
    plugins::{Change, PluginError, PluginState, Setting},
};
use llmux_tests::{
    Turn, kinds, scripted,
    world::{all, builder, built, chat, read, said},
};
use serde_json::json;

fn names(client: &llmux_core::Client) -> Vec<String> {
    client.plugins().list().into_iter().map(|info| info.name).collect()
}

kinds! {
    async fn l1_the_number_of_instances_is_bounded(world: World) {
        let provider = scripted([]);
        let config = PipelineConfig::default().with_max_plugins(2);
        let plugins = [world.probe("a", 1, json!({})), world.probe("b", 2, json!({}))];
        let client = built(builder(&provider).pipeline(config), plugins).await;
        let refused = client.plugins().load(world.probe("c", 3, json!({}))).await;
        assert!(matches!(refused, Err(PluginError::TooManyPlugins { max: 2 })), "{refused:?}");
        assert_eq!(names(&client), ["a", "b"]);
        assert_eq!(PipelineConfig::default().max_plugins, 100, "the default");
    }

    async fn l1_names_are_unique(world: World) {
        let provider = scripted([]);
        let client = world.client(&provider, [world.probe("a", 1, json!({}))]).await;
        let refused = client.plugins().load(world.probe("a", 2, json!({}))).await;
        assert!(matches!(&refused, Err(PluginError::DuplicatePlugin { name }) if name == "a"), "{refused:?}");
        assert_eq!(world.count("a.new"), 1, "nothing was made for it");
    }

    async fn l1_an_unknown_instance_is_not_found(world: World) {
        let provider = scripted([]);
        let client = world.client(&provider, [world.probe("a", 1, json!({}))]).await;
        let changes = [Change::Unload("x".into()), Change::Reload("x".into()), Change::Enable("x".into()), Change::Disable("x".into())];
        for change in changes {
            let refused = client.plugins().change(vec![change]).await;
            assert!(matches!(&refused, Err(PluginError::PluginNotFound { name }) if name == "x"), "{refused:?}");
        }
    }

    async fn l1_a_failed_change_leaves_the_old_snapshot(world: World) {
        let provider = scripted([]);
        let client = world.client(&provider, [world.probe("a", 1, json!({}))]).await;
        let changes = vec![
            Change::Load(world.probe("b", 2, json!({}))),
            Change::Unload("a".into()),
            Change::Load(world.probe("c", 3, json!({"new": [{"do": "fail", "message": "not today"}]}))),
        ];
        match client.plugins().change(changes).await {
            Err(PluginError::Construction { name, message, .. }) => assert_eq!((name.as_str(), message.as_str()), ("c", "not today")),
            other => panic!("{other:?}"),
        }
        world.wait_for("b.drop", 1).await;
        client.send(chat("m")).await;
        assert_eq!(world.chain(), ["a.pre", "a.post"]);
        assert_eq!(names(&client), ["a"]);
        assert_eq!(world.of("cleanup"), ["b"], "what was made for nothing is cleaned up");
    }

    async fn l1_a_place_or_a_name_that_an_earlier_change_of_several_frees_is_free(world: World) {
        let provider = scripted([]);
        let config = PipelineConfig::default().with_max_plugins(2);
        let plugins = [world.probe("a", 1, json!({})), world.probe("b", 2, json!({}))];
        let client = built(builder(&provider).pipeline(config), plugins).await;
        let load = |name: &str| Change::Load(world.probe(name, 3, json!({})));
        let unload = |name: &str| Change::Unload(name.into());
        let refused = client.plugins().change(vec![load("c"), unload("a")]).await;
        assert!(matches!(refused, Err(PluginError::TooManyPlugins { max: 2 })), "{refused:?}");
        let refused = client.plugins().change(vec![unload("a"), load("c"), load("d")]).await;
        assert!(matches!(refused, Err(PluginError::TooManyPlugins { max: 2 })), "{refused:?}");
        assert_eq!(client.plugins().list().iter().filter(|it| it.state == PluginState::Active).count(), 2);
        client.plugins().change(vec![unload("a"), unload("b"), load("b"), load("c")]).await.expect("in this order");
        client.send(chat("m")).await;
        assert_eq!(world.of("pre"), ["b", "c"]);
    }

    async fn l2_several_changes_are_one_snapshot(world: World) {
        let provider = scripted([]);
        let client = world.client(&provider, [world.probe("a", 1, json!({})), world.probe("b", 2, json!({}))]).await;
        let gate = world.text_path("gate");
        let slow = world.probe("d", 4, json!({"new": [{"do": "block_until", "path": gate}]}));
        let changes = vec![
            Change::Unload("a".into()),
            Change::Update {
                name: "b".into(), priority: Setting::Set(9), on_error: Setting::Keep, config: Setting::Keep,
            },
            Change::Load(world.probe("c", 3, json!({}))),
            Change::Load(slow),
        ];
        let plugins = client.plugins().clone();
        let changing = tokio::spawn(async move { plugins.change(changes).await.map(|new| new.len()) });
        world.spin_for("d.new").await;
        client.send(chat("m")).await;
        assert_eq!(world.of("pre"), ["a", "b"], "a request while the change is made");
        std::fs::write(&gate, "").expect("the gate opens");
        assert_eq!(changing.await.expect("no panic").expect("changed"), 3, "new or changed instances");
        client.send(chat("m")).await;
        assert_eq!(world.of("pre").split_off(2), ["c", "d", "b"], "a request after it");
    }

    async fn l3_shutdown_refuses_drains_and_cleans_up_in_descending_order(world: World) {
        let provider = scripted([Turn::paced(vec![json!("one"), json!("two")])]);
        let fails = json!({"cleanup": [{"do": "fail", "message": "stuck"}]});
        let plugins =
            [world.probe("a", 1, fails.clone()), world.probe("b", 2, json!({})), world.probe("c", 3, fails)];
        let client = world.client(&provider, plugins).await;
        let mut stream = client.stream(chat("m")).await.result.expect("a stream");
        let (closing, rest) = (client.clone(), client.clone());
        let shutdown = tokio::spawn(async move { closing.shutdown(Duration::from_secs(60)).await });
        tokio::task::yield_now().await;
        let refused = rest.send(chat("m")).await.result.expect_err("refused");
        assert_eq!((refused.kind(), refused.status()), (ErrorKind::PipelineClosed, 503), "a new request");
        assert_eq!(all(rest.stream(chat("m")).await).await.len(), 1, "a new stream");
        assert_eq!(read(&mut stream).await, ["one", "two"], "the stream that was under way");
        drop(stream);
        let report = shutdown.await.expect("no panic");
        assert!(report.drained, "drained");
        let stuck = |name: &str| (name.to_owned(), "stuck".to_owned());
        assert_eq!(report.errors, [stuck("c"), stuck("a")], "every cleanup error is reported");
        let (complete, cleanup) = (world.of("complete"), world.of("cleanup"));
        assert_eq!((world.of("post_stream"), complete, cleanup).2, ["c", "b", "a"], "cleanup");
        assert_eq!(world.of("complete"), ["c", "b", "a"], "on_complete is delivered before");
        assert_eq!(world.of("post_stream"), ["c", "b", "a"], "and the end of the stream");
        let closed = client.plugins().load(world.probe("z", 1, json!({}))).await;
        assert!(matches!(closed, Err(PluginError::PipelineClosed)), "{closed:?}");
    }

    async fn l3_shutdown_waits_for_a_bounded_time(world: World) {
        let provider = scripted([Turn::stall(vec![json!("one")])]);
        let client = world.client(&provider, [world.probe("a", 1, json!({}))]).await;
        let mut stream = client.stream(chat("m")).await.result.expect("a stream");
        stream.next().await.expect("a chunk").expect("a chunk");
        let begun = tokio::time::Instant::now();
        let report = client.shutdown(Duration::from_secs(5)).await;
        assert_eq!(begun.elapsed().as_secs(), 5, "seconds of a clock that is held");
        assert!(!report.drained, "it says that it did not drain");
        assert_eq!(report.errors, [("a".to_owned(), "requests still use it".to_owned())]);
        assert_eq!(world.of("cleanup"), Vec::<String>::new(), "what is in use is not cleaned up");
        drop(stream);
        world.wait_for("a.drop", 1).await;
        assert_eq!(world.of("cleanup"), Vec::<String>::new(), "nor afterwards: nobody waits for it");
    }

    async fn l1_an_instances_name_is_checked(world: World) {
        let provider = scripted([]);
        let client = world.client(&provider, []).await;
        let refused = client.plugins().load(world.probe("Not A Name", 1, json!({}))).await;
        assert!(matches!(refused, Err(PluginError::InvalidName { .. })), "{refused:?}");
        assert_eq!(said(&client.send(chat("m")).await), "again");
    }
}
