//! Rule D4 for plugins with `reload = "exclusive"`: two instances of one name never live at once.

use std::{fs, time::Duration};

use llmux_core::{
    Client, PluginSpec, Reply,
    plugins::{
        Change, Guards, OnError, Origin, PluginError, PluginInfo, PluginState, PluginsConfig, Setting,
    },
};
use llmux_tests::{
    Fixtures, Turn, World, kinds, scripted,
    world::{builder, built, chat, header, read, said},
};
use serde_json::{Value, json};
use tokio::{
    task::JoinHandle,
    time::{Instant, sleep},
};

/// Default of `exclusive_wait`, in seconds.
const WAIT: u64 = 5;

/// Returns the configuration of an instance that holds the lock of this name.
pub(crate) fn config(world: &World, lock: &str, tag: &str, more: Value) -> Value {
    let mut config = json!({"lock": world.path(lock), "log": world.path("lines"), "tag": tag});
    let more = more.as_object().expect("an object").clone();
    config.as_object_mut().expect("an object").extend(more);
    config
}

/// Returns an instance named `x`, with the tag `1`.
fn x(world: &World, more: Value) -> PluginSpec {
    named(world, "x", "1", more)
}

pub(crate) fn named(world: &World, name: &str, tag: &str, more: Value) -> PluginSpec {
    let spec = world.kind.spec::<llmux_exclusive::Exclusive>(Fixtures::exclusive);
    world.writable(spec).with_name(name).with_config(config(world, name, tag, more))
}

fn set(name: &str, config: Value) -> Change {
    let (priority, on_error) = (Setting::Keep, Setting::Keep);
    Change::Update { name: name.into(), priority, on_error, config: Setting::Set(config) }
}

/// Sets another tag for the instance `x`.
async fn change(client: &Client, config: Value) -> Result<(), PluginError> {
    client.plugins().change(vec![set("x", config)]).await.map(drop)
}

/// Begins to change the instance `x`, in a task of its own.
fn changing(client: &Client, config: Value) -> JoinHandle<Result<(), PluginError>> {
    let client = client.clone();
    tokio::spawn(async move { change(&client, config).await })
}

/// Sends a request in a task of its own.
pub(crate) fn sending(client: &Client) -> JoinHandle<Reply> {
    let client = client.clone();
    tokio::spawn(async move { client.send(chat("m")).await })
}

/// Returns the tag of the instance that acted on a request; `-` if none did.
pub(crate) fn tag(reply: &Reply) -> String {
    assert_eq!(said(reply), "again");
    header(reply.headers(), "x-tag").unwrap_or("-").to_owned()
}

pub(crate) fn info(client: &Client, name: &str) -> PluginInfo {
    client.plugins().list().into_iter().find(|info| info.name == name).expect("an instance")
}

/// Returns the births and ends of the instances, without their requests.
pub(crate) fn lives(world: &World) -> Vec<String> {
    world.lines().into_iter().filter(|line| !line.contains(".pre")).collect()
}

kinds! {
    async fn d4_an_exclusive_instance_is_gone_before_the_new_one_is_made(world: World) {
        let client = world.client(&scripted([]), [x(&world, json!({}))]).await;
        assert_eq!(tag(&client.send(chat("m")).await), "1");
        change(&client, config(&world, "x", "2", json!({}))).await.expect("changed");
        assert_eq!(tag(&client.send(chat("m")).await), "2");
        // Without `x.renew`.
        assert_eq!(lives(&world), ["x.new 1", "x.cleanup 1", "x.drop 1", "x.new 2"]);
        let refused = change(&client, json!({"tag": 7})).await;
        assert!(matches!(refused, Err(PluginError::Config { .. })), "{refused:?}");
        assert_eq!(world.of("cleanup"), ["x 1"], "the schema is checked first");
        client.plugins().unload("x").await.expect("unloaded");
        client.plugins().load(named(&world, "x", "3", json!({}))).await.expect("a load is as usual");
        assert_eq!(tag(&client.send(chat("m")).await), "3");
    }

    async fn d4_a_request_waits_while_an_exclusive_instance_is_replaced(world: World) {
        let provider = scripted([Turn::paced(vec![json!("one"), json!("two"), json!("three")])]);
        let client = world.client(&provider, [x(&world, json!({}))]).await;
        let mut stream = client.stream(chat("m")).await.result.expect("a stream");
        client.plugins().load(world.probe("p", 9, json!({}))).await.expect("the stream holds an older version");
        let begun = Instant::now();
        let changing = changing(&client, config(&world, "x", "2", json!({})));
        sleep(Duration::from_millis(100)).await;
        let waits = sending(&client);
        sleep(Duration::from_millis(1800)).await;
        assert!(!waits.is_finished() && !changing.is_finished(), "the stream holds the old instance");
        assert_eq!(info(&client, "x").state, PluginState::Active);
        assert_eq!(world.of("cleanup"), [""; 0]);
        assert_eq!(read(&mut stream).await, ["one", "two", "three"]);
        drop(stream);
        assert_eq!(tag(&waits.await.expect("no panic")), "2");
        changing.await.expect("no panic").expect("changed");
        assert_eq!(begun.elapsed().as_secs(), 2, "nothing else is waited for");
        assert_eq!(world.of("pre"), ["x 1", "x 2", "p"]);
    }

    async fn d4_a_request_that_does_not_end_refuses_the_change_of_an_exclusive_instance(world: World) {
        let provider = scripted([Turn::hang()]);
        let client = world.client(&provider, [x(&world, json!({}))]).await;
        let holds = sending(&client);
        world.wait_for("x.pre 1", 1).await;
        let begun = Instant::now();
        let changing = changing(&client, config(&world, "x", "2", json!({})));
        sleep(Duration::from_secs(1)).await;
        let waits = sending(&client);
        let refused = changing.await.expect("no panic").expect_err("it is in use");
        assert!(matches!(&refused, PluginError::InstanceInUse { name, .. } if name == "x"), "{refused:?}");
        assert!(refused.to_string().contains("`exclusive_wait`"), "{refused}");
        assert_eq!(begun.elapsed().as_secs(), WAIT, "seconds of a clock that is held");
        assert_eq!(tag(&waits.await.expect("no panic")), "1", "the old instance serves");
        assert_eq!(begun.elapsed().as_secs(), WAIT, "the request goes on at once");
        assert_eq!(lives(&world), ["x.new 1"]);
        assert_eq!(PluginsConfig::default().exclusive_wait.as_secs(), WAIT, "the default");
        holds.abort();
        world.wait_for("x.pre 1", 2).await;
        change(&client, config(&world, "x", "2", json!({}))).await.expect("its time has come");
        assert_eq!(tag(&client.send(chat("m")).await), "2");
    }

    async fn d4_a_request_that_waits_too_long_for_an_exclusive_instance_gets_503(world: World) {
        let client = world.client(&scripted([]), [x(&world, json!({"cleanup_seconds": 7}))]).await;
        let changing = changing(&client, config(&world, "x", "2", json!({})));
        world.wait_for("x.cleanup 1", 1).await;
        let begun = Instant::now();
        let refused = sending(&client);
        sleep(Duration::from_secs(3)).await;
        let waits = sending(&client);
        let stream = client.stream(chat("m"));
        let refused = refused.await.expect("no panic").result.expect_err("refused");
        assert_eq!(begun.elapsed().as_secs(), WAIT, "seconds of a clock that is held");
        assert_eq!((refused.status(), refused.code()), (503, Some("plugin_busy")));
        assert_eq!(refused.retry_after(), Some(Duration::from_secs(1)));
        assert_eq!(tag(&waits.await.expect("no panic")), "2");
        assert_eq!(header(stream.await.headers(), "x-tag"), Some("2"));
        changing.await.expect("no panic").expect("changed");
    }

    async fn d4_if_the_new_exclusive_instance_fails_the_old_one_is_made_again(world: World) {
        let client = world.client(&scripted([]), [x(&world, json!({}))]).await;
        let refused = change(&client, config(&world, "x", "2", json!({"fails": true}))).await;
        let Err(PluginError::Construction { name, message, .. }) = &refused else { panic!("{refused:?}") };
        assert_eq!((name.as_str(), message.as_str()), ("x", "2 is broken"));
        assert_eq!(tag(&client.send(chat("m")).await), "1");
        assert_eq!(lives(&world), ["x.new 1", "x.cleanup 1", "x.drop 1", "x.new 2", "x.new 1"]);
        assert_eq!(info(&client, "x").state, PluginState::Active);
        change(&client, config(&world, "x", "3", json!({}))).await.expect("changed");
        assert_eq!(tag(&client.send(chat("m")).await), "3");
        assert_eq!(client.shutdown(Duration::from_secs(60)).await.errors, []);
        assert_eq!(world.of("drop"), ["x 1", "x 1", "x 3"], "each instance is dropped once");
    }

    async fn d4_if_both_exclusive_instances_fail_the_instance_is_failed_and_fails_by_e3(world: World) {
        let broken = world.path("broken");
        let breaks = json!({"broken": broken, "breaks": true});
        let client = world.client(&scripted([]), [x(&world, breaks).with_on_error(OnError::Fail)]).await;
        let next = config(&world, "x", "2", json!({"broken": broken}));
        let refused = change(&client, next.clone()).await.expect_err("it cannot be made");
        assert!(matches!(refused, PluginError::NotRestored { .. }), "{refused:?}");
        for part in ["2 is broken", "1 is broken"] {
            assert!(refused.to_string().contains(part), "{refused}");
        }
        let failed = info(&client, "x");
        assert_eq!(failed.state, PluginState::Failed);
        assert!(failed.error.expect("a reason").contains("1 is broken"));
        assert_eq!(**client.plugins().inactive(), ["x"], "it is not ready");
        assert!(said(&client.send(chat("m")).await).starts_with("!500 plugin_failure"), "it fails closed");
        assert_eq!(info(&client, "x").hooks[0].failures, 1, "a failure as any other");
        let on_error = Setting::Set(OnError::Continue);
        let update =
            Change::Update { name: "x".into(), priority: Setting::Keep, on_error, config: Setting::Keep };
        client.plugins().change(vec![update]).await.expect("changed");
        assert_eq!(tag(&client.send(chat("m")).await), "-", "the request goes on");
        assert_eq!(info(&client, "x").state, PluginState::Failed);
        fs::remove_file(&broken).expect("repaired");
        change(&client, next).await.expect("changed");
        assert_eq!(info(&client, "x").state, PluginState::Active);
        assert_eq!(tag(&client.send(chat("m")).await), "2");
        assert_eq!(world.of("cleanup"), ["x 1"]);
    }

    async fn d4_an_exclusive_instance_is_changed_last_and_only_if_nothing_else_fails(world: World) {
        let provider = scripted([]);
        let plugins = |tag: &str, scripts: Value| {
            let specs = [named(&world, "x", tag, json!({})), world.probe("p", 9, scripts)];
            specs.map(|spec| spec.with_origin(Origin::Config))
        };
        let client = built(builder(&provider), plugins("1", json!({}))).await;
        let reconfigure = async |plugins: [PluginSpec; 2]| {
            let builder = plugins.into_iter().fold(builder(&provider), llmux_core::ClientBuilder::plugin);
            client.reconfigure(builder, Guards::Keep).await
        };
        let fails = json!({"new": [{"do": "fail", "message": "no"}]});
        reconfigure(plugins("2", fails)).await.expect_err("the probe fails");
        assert_eq!(world.of("cleanup"), [""; 0], "the exclusive one is not touched");
        reconfigure(plugins("2", json!({"counter": "seen_total"}))).await.expect("changed");
        world.wait_for("p.drop", 1).await;
        let last = world.lines().iter().rposition(|line| line == "p.new").expect("made");
        let first = world.lines().iter().position(|line| line == "x.cleanup 1").expect("cleaned up");
        assert!(last < first, "{:#?}", world.lines());
        assert_eq!(tag(&client.send(chat("m")).await), "2");
    }

    async fn d4_if_one_of_several_exclusive_instances_fails_all_are_as_they_were(world: World) {
        let plugins = ["a", "b", "c"].map(|name| named(&world, name, "1", json!({})));
        let client = world.client(&scripted([]), plugins).await;
        let to = |name: &str, more| set(name, config(&world, name, "2", more));
        let changes = vec![to("a", json!({})), to("b", json!({"fails": true})), to("c", json!({}))];
        let refused = client.plugins().change(changes).await;
        assert!(matches!(&refused, Err(PluginError::Construction { name, .. }) if name == "b"), "{refused:?}");
        client.send(chat("m")).await;
        assert_eq!(world.of("pre"), ["a 1", "b 1", "c 1"]);
        assert_eq!(world.of("cleanup"), ["a 1", "b 1", "a 2"], "the last one is not touched");
    }

    async fn d4_a_caller_that_leaves_does_not_lose_an_exclusive_instance(world: World) {
        let client = world.client(&scripted([]), [x(&world, json!({"cleanup_seconds": 3}))]).await;
        let changing = changing(&client, config(&world, "x", "2", json!({})));
        world.wait_for("x.cleanup 1", 1).await;
        changing.abort();
        assert_eq!(tag(&client.send(chat("m")).await), "2");
        assert_eq!(lives(&world), ["x.new 1", "x.cleanup 1", "x.drop 1", "x.new 2"]);
    }

    async fn d4_a_shutdown_ends_the_wait_for_an_exclusive_instance(world: World) {
        let client = world.client(&scripted([Turn::hang()]), [x(&world, json!({}))]).await;
        let holds = sending(&client);
        world.wait_for("x.pre 1", 1).await;
        let changing = changing(&client, config(&world, "x", "2", json!({})));
        sleep(Duration::from_secs(1)).await;
        let (waits, begun) = (sending(&client), Instant::now());
        tokio::task::yield_now().await;
        let ending = { let client = client.clone(); tokio::spawn(async move { client.shutdown(Duration::from_secs(60)).await }) };
        assert_eq!(said(&waits.await.expect("no panic")), "!503 pipeline_closed: this host is shutting down");
        let refused = changing.await.expect("no panic");
        assert!(matches!(refused, Err(PluginError::PipelineClosed)), "{refused:?}");
        assert_eq!(begun.elapsed(), Duration::ZERO, "neither waits for the request");
        holds.abort();
        assert_eq!(ending.await.expect("no panic").errors, []);
        assert_eq!(lives(&world), ["x.new 1", "x.cleanup 1", "x.drop 1"]);
    }

    async fn d4_a_shutdown_while_an_exclusive_instance_is_cleaned_up_makes_none_anew(world: World) {
        let client = world.client(&scripted([]), [x(&world, json!({"cleanup_seconds": 3}))]).await;
        let changing = changing(&client, config(&world, "x", "2", json!({})));
        world.wait_for("x.cleanup 1", 1).await;
        assert_eq!(world.finish(&client).await.errors, []);
        let refused = changing.await.expect("no panic");
        assert!(matches!(refused, Err(PluginError::PipelineClosed)), "{refused:?}");
        assert_eq!(lives(&world), ["x.new 1", "x.cleanup 1", "x.drop 1"]);
        assert_eq!(client.plugins().unfinished(), [""; 0]);
    }
}
