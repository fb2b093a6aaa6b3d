//! Identical concurrent misses: the requests that wait, the request that they wait for, and the duration of the wait.

use std::{sync::Arc, time::Duration};

use futures_util::future::join_all;
use llmux_abi::{Context, Request};
use llmux_builtin_tests::{Answer, Builtin, Kind, World, ask};
use llmux_core::PluginSpec;
use llmux_plugin_cache::Cache;
use serde_json::json;
use tokio::task::JoinHandle;

async fn world(kind: Kind, coalesce: bool) -> Arc<World> {
    Arc::new(World::new([Builtin::Cache.with(kind, json!({"coalesce": coalesce}))]).await)
}

/// Sends this many requests at once, and lets each run until it has to wait.
async fn send(
    world: &Arc<World>,
    model: &'static str,
    stream: bool,
    count: usize,
) -> Vec<JoinHandle<Answer>> {
    let send = |_| {
        let world = Arc::clone(world);
        tokio::spawn(async move { world.send_only(ask(stream).model(model)).await })
    };
    let sent = (0..count).map(send).collect();
    world.settle().await;
    sent
}

async fn answers(sent: Vec<JoinHandle<Answer>>) -> Vec<Answer> {
    join_all(sent).await.into_iter().map(|answer| answer.expect("an answer")).collect()
}

async fn identical_misses_wait_for_one(kind: Kind) {
    let world = world(kind, true).await;
    let sent = send(&world, "gated", false, 20).await;
    assert_eq!(world.upstream.calls(), 1);
    world.upstream.gate.add_permits(1);
    let answers = answers(sent).await;
    assert!(answers.iter().all(|answer| answer.bodies == answers[0].bodies && answer.is_ok()));
    assert_eq!(answers.iter().filter(|answer| answer.hit).count(), 19);
    assert_eq!(world.upstream.calls(), 1);
}

async fn by_default_nobody_waits(kind: Kind) {
    let world = world(kind, false).await;
    let sent = send(&world, "gated", false, 3).await;
    assert_eq!(world.upstream.calls(), 3);
    world.upstream.gate.add_permits(3);
    assert!(answers(sent).await.iter().all(Answer::is_ok));
}

async fn streams_never_wait(kind: Kind) {
    let world = world(kind, true).await;
    let plain = send(&world, "gated", false, 1).await;
    let streams = send(&world, "gated", true, 2).await;
    assert_eq!(world.upstream.calls(), 3);
    world.upstream.gate.add_permits(3);
    assert!(answers(plain).await.iter().chain(&answers(streams).await).all(Answer::is_ok));
}

async fn one_that_may_not_read_does_not_wait(kind: Kind) {
    let world = world(kind, true).await;
    let sent = send(&world, "gated", false, 1).await;
    let apart = {
        let world = Arc::clone(&world);
        let asked = ask(false).model("gated").header("cache-control", "no-cache");
        tokio::spawn(async move { world.send_only(asked).await })
    };
    world.settle().await;
    assert_eq!(world.upstream.calls(), 2);
    world.upstream.gate.add_permits(2);
    answers(sent).await;
    assert!(!apart.await.expect("an answer").hit);
}

async fn another_leads_when_the_leader_fails(kind: Kind) {
    let world = world(kind, true).await;
    let sent = send(&world, "gated-fail-once", false, 5).await;
    assert_eq!(world.upstream.calls(), 1);
    world.upstream.gate.add_permits(1);
    world.settle().await;
    assert_eq!(world.upstream.calls(), 2, "one of those who waited");
    world.upstream.gate.add_permits(1);
    let answers = answers(sent).await;
    assert_eq!(answers.iter().filter(|answer| !answer.is_ok()).count(), 1);
    assert_eq!(answers.iter().filter(|answer| answer.hit).count(), 3);
    assert_eq!(world.upstream.calls(), 2);
}

async fn another_leads_when_the_leader_goes_away(kind: Kind) {
    let world = world(kind, true).await;
    let leader = send(&world, "gated", false, 1).await.remove(0);
    let others = send(&world, "gated", false, 4).await;
    leader.abort();
    world.settle().await;
    assert_eq!(world.upstream.calls(), 2);
    world.upstream.gate.add_permits(1);
    let answers = answers(others).await;
    assert!(answers.iter().all(Answer::is_ok));
    assert_eq!(answers.iter().filter(|answer| answer.hit).count(), 3);
}

async fn nobody_waits_longer_than_its_hook_may(kind: Kind) {
    let world = world(kind, true).await;
    let sent = send(&world, "hang", false, 2).await;
    assert_eq!(world.upstream.calls(), 1);
    tokio::time::sleep(Duration::from_millis(8_900)).await;
    assert_eq!(world.upstream.calls(), 1, "there is time yet");
    tokio::time::sleep(Duration::from_millis(1_050)).await;
    assert_eq!(world.upstream.calls(), 2, "before the hook's 10 s are over");
    let hooks = world.client().plugins().list().remove(0).hooks;
    assert!(hooks.iter().all(|hook| hook.failures == 0), "{hooks:?}");
    sent.iter().for_each(JoinHandle::abort);
}

async fn a_new_request_finds_the_answer_when_those_who_waited_have_it(kind: Kind) {
    let world = world(kind, true).await;
    let sent = send(&world, "gated", false, 2).await;
    world.upstream.gate.add_permits(1);
    answers(sent).await;
    world.settle().await;
    assert!(world.send(ask(false).model("gated")).await.hit);
    assert!(world.send(ask(true).model("gated")).await.hit);
}

in_every_kind! {
    anywhere: ;
    in_this_process:
    by_default_nobody_waits
    identical_misses_wait_for_one
    streams_never_wait
    one_that_may_not_read_does_not_wait
    another_leads_when_the_leader_fails
    another_leads_when_the_leader_goes_away
    nobody_waits_longer_than_its_hook_may
    a_new_request_finds_the_answer_when_those_who_waited_have_it
}

/// With a cache key that leaves the model out, a fallback attempt asks for the answer that the first attempt of its
/// own request leads.
#[tokio::test(start_paused = true)]
async fn a_fallback_does_not_wait_for_itself() {
    let make = |host| {
        Cache::builder()
            .coalesce(true)
            .key(|_: &Context<'_>, request: &Request<'_>| request.last_user_text())
            .build(host)
    };
    let world = World::new([PluginSpec::by_hand("cache", make)]).await;
    let before = tokio::time::Instant::now();
    let answer = world.send(ask(false).model("fail").fallback("spare")).await;
    assert_eq!((answer.is_ok(), answer.inside().attempts), (true, 2));
    assert!(before.elapsed() < Duration::from_secs(1), "{:?}", before.elapsed());
}
