//! Rules D5 and L3: instances that are unloaded while their code still runs. The host waits for code that waits, and
//! cancels it if it has a timeout. The host cannot cancel code that blocks a thread; such code must not delay other
//! instances.

use std::time::Duration;

use llmux_core::{
    Client,
    pipeline::PipelineConfig,
    plugins::{Guards, PluginState, ShutdownReport, Unloaded},
};
use llmux_tests::{
    Kind, World, kinds, scripted,
    world::{builder, built, chat, plugins, said},
};
use serde_json::{Value, json};

/// Returns the state of an instance in the list.
fn state(client: &Client, name: &str) -> Option<PluginState> {
    client.plugins().list().iter().find(|info| info.name == name).map(|info| info.state)
}

/// Returns a client with the plugin `a`, which has these scripts, the plugin `b`, and short timeouts.
async fn client(world: &World, scripts: Value) -> Client {
    let pipeline = PipelineConfig::default()
        .with_pre_hook_timeout(Duration::from_secs(3))
        .with_post_hook_timeout(Duration::from_millis(500));
    let plugins = plugins().with_drain_timeout(Duration::from_millis(20));
    let provider = scripted([]);
    let instances = [world.probe("a", 1, scripts), world.probe("b", 2, json!({}))];
    built(builder(&provider).pipeline(pipeline).plugins(plugins), instances).await
}

kinds! {
    async fn d5_an_unload_while_a_hook_never_ends_answers_draining_and_ends_with_the_hooks_timeout(world: World) {
        let hangs = json!({"pre": [{"do": "hold_mark"}, {"do": "sleep", "ms": 3_600_000}]});
        let client = client(&world, hangs).await;
        let asking = client.clone();
        let asking = tokio::spawn(async move { said(&asking.send(chat("m")).await) });
        world.wait_for("a.pre", 1).await;
        assert_eq!(client.plugins().unload("a").await.expect("unloaded"), Unloaded::Draining);
        assert_eq!(state(&client, "a"), Some(PluginState::Draining), "it is seen");
        assert_eq!(world.count("a.cleanup"), 0, "its hook has not returned");
        assert_eq!(said(&client.send(chat("m")).await), "again", "a request after it");
        assert_eq!(world.count("a.pre"), 1, "which it has no part in");
        assert_eq!(asking.await.expect("no panic"), "again", "the request that it hung in");
        world.wait_for("a.drop", 1).await;
        let end = world.lines();
        let at = |line: &str| end.iter().position(|it| it == line);
        assert!(at("a.pre future dropped") < at("a.cleanup") && at("a.cleanup") < at("a.drop"), "{end:?}");
        while state(&client, "a").is_some() {
            tokio::task::yield_now().await;
        }
    }

    async fn l3_a_second_shutdown_says_the_truth_too(world: World) {
        let hangs = json!({"pre": [{"do": "sleep", "ms": 3_600_000}]});
        let client = client(&world, hangs).await;
        let asking = client.clone();
        let asking = tokio::spawn(async move { drop(asking.send(chat("m")).await) });
        world.wait_for("a.pre", 1).await;
        let drain = Duration::from_millis(20);
        let (first, second) = tokio::join!(client.shutdown(drain), client.shutdown(drain));
        assert!(!first.drained && !second.drained, "the request runs: {first:?} {second:?}");
        asking.await.expect("no panic");
    }

    async fn c2_a_cleanup_has_the_post_hook_timeout_of_the_configuration_that_counts_when_it_begins(world: World) {
        let hangs = json!({"cleanup": [{"do": "sleep", "ms": 3_600_000}]});
        let (provider, instances) = (scripted([]), ["a", "b"].map(|name| world.probe(name, 1, hangs.clone())));
        let client = built(builder(&provider), instances).await;
        for (name, seconds) in [("a", 3), ("b", 20)] {
            let pipeline =
                PipelineConfig::default().with_post_hook_timeout(Duration::from_secs(seconds));
            client.reconfigure(builder(&provider).pipeline(pipeline), Guards::Keep).await.expect("no plugin is refused");
            let begun = tokio::time::Instant::now();
            assert_eq!(client.plugins().unload(name).await.expect("unloaded"), Unloaded::Gone);
            assert_eq!(begun.elapsed().as_secs(), seconds, "seconds of a clock that is held");
        }
    }
}

/// Runs tests of code that blocks a thread, on a runtime with several threads: in real time, with gates instead of
/// durations.
macro_rules! with_threads {
    ($($name:ident: $kind:expr, $run:path;)*) => {$(
        #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
        async fn $name() {
            $run(World::new($kind)).await;
        }
    )*};
}

with_threads! {
    d5_an_unload_while_a_hook_holds_a_thread_answers_draining_compiled: Kind::Compiled, hook_holds_a_thread;
    d5_an_unload_while_a_hook_holds_a_thread_answers_draining_loaded: Kind::Loaded, hook_holds_a_thread;
    d5_an_unload_while_a_task_holds_a_thread_answers_draining_compiled: Kind::Compiled, task_holds_a_thread;
    d5_an_unload_while_a_task_holds_a_thread_answers_draining_loaded: Kind::Loaded, task_holds_a_thread;
    l3_a_shutdown_does_not_wait_for_a_cleanup_that_holds_a_thread: Kind::Loaded, cleanup_holds_a_thread;
    l3_a_shutdown_does_not_wait_for_a_task_that_holds_a_thread: Kind::Loaded, task_outlives_a_shutdown;
    l3_a_shutdown_reports_an_instance_whose_hook_holds_a_thread: Kind::Loaded, hook_outlives_a_shutdown;
}

fn open(gate: &str) {
    std::fs::write(gate, "").expect("the gate opens");
}

async fn hook_holds_a_thread(world: World) {
    let gate = world.text_path("gate");
    let client = client(&world, json!({"pre": [{"do": "block_until", "path": gate}]})).await;
    let asking = client.clone();
    let asking = tokio::spawn(async move { said(&asking.send(chat("m")).await) });
    world.wait_for("a.pre", 1).await;
    let unloaded = client.plugins().unload("a").await;
    let (seen, other) = (state(&client, "a"), said(&client.send(chat("m")).await));
    open(&gate);
    assert_eq!(unloaded.expect("unloaded"), Unloaded::Draining);
    assert_eq!((seen, other.as_str()), (Some(PluginState::Draining), "again"));
    asking.await.expect("no panic");
    world.wait_for("a.drop", 1).await;
    assert_eq!(world.count("a.cleanup"), 1);
}

async fn task_holds_a_thread(world: World) {
    let gate = world.text_path("gate");
    let client = client(&world, json!({"pre": [{"do": "spawn", "task": format!("block {gate}")}]})).await;
    client.send(chat("m")).await;
    world.wait_for("a.task blocks", 1).await;
    let unloaded = client.plugins().unload("a").await;
    let (seen, dropped) = (state(&client, "a"), world.count("a.drop"));
    open(&gate);
    assert_eq!(unloaded.expect("unloaded"), Unloaded::Draining);
    assert_eq!((seen, dropped), (Some(PluginState::Draining), 0), "its task still runs its code");
    world.wait_for("a.drop", 1).await;
    let end = world.lines();
    assert_eq!(
        end[end.len() - 2..],
        ["a.task ended", "a.drop"],
        "the task is joined before the drop: {end:?}"
    );
}

/// Shuts the client down. The shutdown must end before the gate opens.
async fn shut_down(world: &World, client: &Client, gate: &str) -> ShutdownReport {
    let report = client.shutdown(Duration::from_millis(20)).await;
    let cleaned = world.of("cleanup");
    open(gate);
    // The gate goes with the world: whoever waits for it must have seen it.
    world.wait_for("a.drop", 1).await;
    assert!(cleaned.contains(&"b".to_owned()), "the other instance is cleaned up: {cleaned:?}");
    report
}

async fn cleanup_holds_a_thread(world: World) {
    let gate = world.text_path("gate");
    let client = client(&world, json!({"cleanup": [{"do": "block_until", "path": gate}]})).await;
    let report = shut_down(&world, &client, &gate).await;
    let why = "its cleanup, its tasks or its drop still hold a thread";
    assert_eq!(report.errors, [("a".to_owned(), why.to_owned())]);
}

async fn task_outlives_a_shutdown(world: World) {
    let gate = world.text_path("gate");
    let client = client(&world, json!({"pre": [{"do": "spawn", "task": format!("block {gate}")}]})).await;
    client.send(chat("m")).await;
    world.wait_for("a.task blocks", 1).await;
    let report = shut_down(&world, &client, &gate).await;
    let why = "its cleanup, its tasks or its drop still hold a thread";
    assert_eq!(report.errors, [("a".to_owned(), why.to_owned())]);
}

async fn hook_outlives_a_shutdown(world: World) {
    let gate = world.text_path("gate");
    let client = client(&world, json!({"pre": [{"do": "block_until", "path": gate}]})).await;
    let asking = client.clone();
    let asking = tokio::spawn(async move { said(&asking.send(chat("m")).await) });
    world.wait_for("a.pre", 1).await;
    let report = client.shutdown(Duration::from_millis(20)).await;
    open(&gate);
    assert!(!report.drained, "it says so");
    let use_it = |name: &str| (name.to_owned(), "requests still use it".to_owned());
    assert_eq!(report.errors, [use_it("b"), use_it("a")], "the request's snapshot holds both");
    asking.await.expect("no panic");
}
