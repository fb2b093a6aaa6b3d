//! Rules I1 and I5: an instance that runs moves into a child process, gets other rights there, and moves out of it.

use llmux_core::plugins::{Change, Isolation, SandboxChange, SandboxSettings, Setting};
use llmux_tests::{Kind, World, scripted};
use serde_json::json;
use std::time::Duration;

use crate::isolation::{ask, info, process};

fn isolate(isolation: Setting<Isolation>, sandbox: SandboxChange) -> Vec<Change> {
    vec![Change::Isolate { name: "a".into(), isolation, sandbox }]
}

fn rights(change: impl FnOnce(&mut SandboxChange)) -> SandboxChange {
    let mut rights = SandboxChange::default();
    change(&mut rights);
    rights
}

#[tokio::test(flavor = "multi_thread")]
async fn i5_a_running_instance_moves_into_a_child_process_and_out_of_it() {
    let world = World::new(Kind::Loaded);
    let plugins = [world.probe("a", 1, json!({})), world.probe("b", 1, json!({}))];
    let client = world.client(&scripted([]), plugins).await;
    let plugins = client.plugins();
    assert_eq!(ask(&client, "m", false).await, ["again"]);
    // `a` may write its record.
    let may_write = rights(|rights| rights.write = Setting::of(world.sandbox().write));
    plugins.change(isolate(Setting::Set(Isolation::Process), may_write)).await.expect("moved in");
    let first = process(&client, "a").pid.expect("a child");
    assert_eq!(ask(&client, "m", false).await, ["again"]);
    assert_eq!(world.of("pre"), ["a", "b", "a", "b"], "it keeps its place");
    let calls = info(&client, "a").hooks.iter().find(|it| it.hook == "pre_hook").map(|it| it.calls);
    assert_eq!(calls, Some(2), "its counts go on");
    let wrong = isolate(Setting::Keep, rights(|rights| rights.memory = Setting::Set(1)));
    let refused = plugins.change(wrong).await.expect_err("refused").to_string();
    assert!(refused.contains("`memory` is at least 33554432; it is 1"), "{refused}");
    assert_eq!(process(&client, "a").pid, Some(first));
    let more = rights(|rights| rights.memory = Setting::Set(1 << 28));
    plugins.change(isolate(Setting::Keep, more)).await.expect("other limits");
    let second = process(&client, "a").pid.expect("a child");
    assert_ne!(first, second);
    let out = || isolate(Setting::Clear, SandboxChange::default());
    let refused = plugins.change(out()).await.expect_err("refused").to_string();
    assert!(refused.contains("`write`, `memory`: the instance runs in the host"), "{refused}");
    let none = rights(|rights| (rights.memory, rights.write) = (Setting::Clear, Setting::Clear));
    plugins.change(isolate(Setting::Clear, none)).await.expect("moved out");
    assert_eq!(info(&client, "a").process.map(|process| process.pid), None);
    for pid in [first, second] {
        // The old child ends when no request holds it.
        while std::path::Path::new(&format!("/proc/{pid}")).exists() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }
    assert_eq!(ask(&client, "m", true).await, ["again"]);
    world.finish(&client).await;
    assert_eq!(world.count("a.drop"), world.count("a.new"), "{:?}", world.lines());
}

#[tokio::test(flavor = "multi_thread")]
async fn i1_a_compiled_in_instance_does_not_move() {
    let world = World::new(Kind::Compiled);
    let client = world.client(&scripted([]), [world.probe("a", 1, json!({}))]).await;
    let moves = isolate(Setting::Set(Isolation::Process), SandboxChange::default());
    let refused = client.plugins().change(moves).await.expect_err("refused").to_string();
    assert!(refused.contains("only a library can run in a child process"), "{refused}");
    let rights = SandboxSettings::default().with_files(Some(64)).files;
    let limits = isolate(Setting::Keep, self::rights(|it| it.files = Setting::of(rights)));
    let refused = client.plugins().change(limits).await.expect_err("refused").to_string();
    assert!(refused.contains("`files`: the instance runs in the host"), "{refused}");
    assert_eq!(ask(&client, "m", false).await, ["again"]);
    world.finish(&client).await;
}
