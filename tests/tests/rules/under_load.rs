//! Rules I3 to I5 and I7 under load: each hook takes memory without an end, logs without an end, or is stopped, while plain
//! and streaming requests of others go on.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use llmux_core::{pipeline::PipelineConfig, plugins::OnError};
use llmux_tests::{
    Capture, Kind, World, scripted,
    world::{builder, built},
};
use serde_json::json;

use crate::isolation::{HOOKS, ask, process, wait_for};

/// Number of clients that send requests meanwhile.
const CLIENTS: usize = 4;
/// Time limit of the hooks of instances that are stopped. The others have the default.
const SHORT: Duration = Duration::from_millis(200);

/// Lets one instance for each hook misbehave once, under load. `reason` is that of the death, if there is one.
async fn each_hook(how: &str, reason: Option<&str>) {
    let world = World::new(Kind::Isolated);
    let mut pipeline = PipelineConfig::default();
    if how == "stop" {
        pipeline = pipeline.with_pre_hook_timeout(SHORT).with_post_hook_timeout(SHORT);
    }
    // An instance of its own, without which no request is answered.
    let guard = world.probe("guard", 0, json!({})).with_on_error(OnError::Fail);
    let plugins = HOOKS.map(|(_, script, streams)| {
        let mut scripts = json!({});
        let model = if streams { "o" } else { "n" };
        scripts[script] = json!([{"do": "only", "what": "model", "is": model}, {"do": "die", "how": how}]);
        world.probe(script, 1, scripts).with_sandbox(world.sandbox().with_memory(Some(1 << 30)))
    });
    let client = built(builder(&scripted([])).pipeline(pipeline), plugins.into_iter().chain([guard])).await;
    let before = HOOKS.map(|(_, script, _)| process(&client, script).pid);
    let (is_over, answered) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let load: Vec<_> = (0..CLIENTS)
        .map(|number| {
            let (client, is_over, answered) = (client.clone(), is_over.clone(), answered.clone());
            tokio::spawn(async move {
                while !is_over.load(Relaxed) {
                    assert_eq!(ask(&client, "m", number % 2 == 0).await, ["again"]);
                    answered.fetch_add(1, Relaxed);
                }
            })
        })
        .collect();
    let (plain, streaming) = tokio::join!(ask(&client, "n", false), ask(&client, "o", true));
    assert_eq!((plain.concat(), streaming.concat()), ("again".to_owned(), "again".to_owned()));
    for ((hook, script, _), before) in HOOKS.into_iter().zip(before) {
        let after = match reason {
            Some(_) => wait_for(&client, script, "active", before).await,
            None => process(&client, script),
        };
        let deaths: Vec<_> = after.deaths.iter().map(|(reason, count)| (*reason, *count)).collect();
        assert_eq!(
            deaths,
            reason.map(|reason| (reason, 1)).into_iter().collect::<Vec<_>>(),
            "{hook}: {after:?}"
        );
    }
    // The load goes on with the new children.
    let so_far = answered.load(Relaxed);
    while answered.load(Relaxed) < so_far + CLIENTS {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    is_over.store(true, Relaxed);
    for task in load {
        task.await.expect("each request was answered");
    }
    assert_eq!(process(&client, "guard").deaths.len(), 0);
    world.finish(&client).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn i5_memory_without_an_end_in_each_hook_harms_no_other_request() {
    each_hook("memory", Some("signal")).await;
}

#[tokio::test]
async fn i7_records_without_an_end_in_each_hook_harm_no_other_request() {
    // The child sends only records that the host takes.
    let logs = Capture::llmux();
    each_hook("flood", None).await;
    assert!(!logs.with(&["flood"]).is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn i4_a_stop_in_each_hook_harms_no_other_request() {
    each_hook("stop", Some("killed")).await;
}

#[tokio::test]
#[ignore = "it takes minutes; `.ci/full` runs it"]
async fn i3_hooks_that_misbehave_again_and_again_harm_no_other_request() {
    for _ in 0..20 {
        let _logs = Capture::llmux();
        for (how, reason) in [("memory", Some("signal")), ("flood", None), ("stop", Some("killed"))] {
            each_hook(how, reason).await;
        }
    }
}
