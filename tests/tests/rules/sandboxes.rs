//! Rules I5 and I7: the rights, the limits and the services of an instance in a child process.

use std::time::Duration;

use llmux_core::plugins::{Isolation, PluginsConfig, SandboxParts};
use llmux_tests::{
    Capture, Kind, World, scripted,
    world::{builder, built, child_program_with},
};
use serde_json::json;

use crate::isolation::{ask, crashes, dies, kill, process, wait_for};

#[tokio::test]
async fn i5_a_child_has_the_rights_of_its_settings_and_no_others() {
    let world = World::new(Kind::Isolated);
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("an address").port();
    std::fs::write(world.path("secret"), "text").expect("written");
    let elsewhere = tempfile::tempdir().expect("a folder");
    let file = elsewhere.path().join("file");
    std::fs::write(&file, "text").expect("written");
    // Cargo sets the variable for each test.
    let reach =
        json!({"pre": [{"do": "reach", "variable": "CARGO_MANIFEST_DIR", "file": file, "port": port}]});
    let all = world
        .sandbox()
        .with_read(Some(vec![elsewhere.path().into(), "/usr/bin".into(), "/bin".into()]))
        .with_env(Some(vec!["CARGO_MANIFEST_DIR".into()]))
        .with_network(Some(true))
        .with_processes(Some(true));
    let specs = [world.probe("none", 1, reach.clone()), world.probe("all", 2, reach).with_sandbox(all)];
    let client = world.client(&scripted([]), specs).await;
    assert_eq!(ask(&client, "m", false).await, ["again"]);
    // The numbers are those of EACCES and EPERM.
    assert_eq!(
        world.of("pre"),
        ["none", "none reach = false 13 1 1", "all", "all reach = true done done done"]
    );
    world.finish(&client).await;
}

#[tokio::test]
async fn i5_missing_parts_are_logged_once_and_refuse_an_instance_that_needs_every_part() {
    let logs = Capture::llmux();
    let world = World::new(Kind::Isolated);
    let with_a_thread = PluginsConfig::default().with_child(Some(child_program_with(["thread"])));
    let client = built(builder(&scripted([])).plugins(with_a_thread), []).await;
    let needs = world.sandbox().with_sandbox(Some(SandboxParts::Required));
    let refused = client.plugins().load(world.probe("a", 1, json!({})).with_sandbox(needs)).await;
    let refused = refused.expect_err("refused").to_string();
    let expected = "sandbox of `a`: `sandbox = \"required\"` needs every part of the sandbox, and this system lacks some: ";
    let missing = "threads that ran before are not restricted (the process has 2 threads)";
    assert!(refused.starts_with(expected) && refused.contains(missing), "{refused}");
    assert_eq!(world.count("a.new"), 0, "no code of the library has run");
    client.plugins().load(world.probe("a", 1, json!({}))).await.expect("loaded");
    let of_a = process(&client, "a").missing_sandbox;
    assert!(of_a.iter().any(|part| part == missing), "{of_a:?}");
    let before = process(&client, "a").pid;
    kill(before.expect("a child"));
    wait_for(&client, "a", "active", before).await;
    let said = logs.with(&["the sandbox of a plugin is incomplete", missing]);
    assert_eq!(said.len(), 1, "{:#?}", logs.lines());
    world.finish(&client).await;
}

#[tokio::test]
async fn i5_rights_and_limits_are_refused_outside_of_a_child_and_if_they_are_wrong() {
    let world = World::new(Kind::Loaded);
    let client = world.client(&scripted([]), []).await;
    let settings = world.sandbox().with_memory(Some(1));
    let spec = || world.probe("a", 1, json!({})).with_sandbox(settings.clone());
    let refused = client.plugins().load(spec()).await.expect_err("refused").to_string();
    assert_eq!(
        refused,
        "sandbox of `a`: `write`, `memory`: the instance runs in the host, and only a child process has a sandbox; set \
         `isolation = \"process\"`, or remove these members"
    );
    let spec = spec().with_isolation(Isolation::Process);
    let refused = client.plugins().load(spec).await.expect_err("refused").to_string();
    assert_eq!(refused, "sandbox of `a`: `memory` is at least 33554432; it is 1");
    world.finish(&client).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn i5_an_allocation_above_the_limit_ends_the_child_and_nothing_else() {
    let world = World::new(Kind::Isolated);
    let limited = world.sandbox().with_memory(Some(1 << 30)).with_files(Some(64));
    let plugin = world.probe("a", 1, json!({"pre": dies("memory")})).with_sandbox(limited);
    let client = world.client(&scripted([]), [plugin]).await;
    let before = process(&client, "a").pid;
    assert_eq!(ask(&client, "n", false).await, ["again"], "the request continues (rule E2)");
    let after = wait_for(&client, "a", "active", before).await;
    assert_eq!(crashes(&client, "a", "pre_hook"), 1);
    assert!(after.last_death.as_ref().is_some_and(|it| it.contains("memory allocation of")), "{after:?}");
    let limits =
        std::fs::read_to_string(format!("/proc/{}/limits", after.pid.expect("a child"))).expect("limits");
    let limit = |name| {
        limits.lines().find(|line| line.starts_with(name)).map(|line| line.split_whitespace().rev().nth(1))
    };
    assert_eq!(
        [limit("Max data size"), limit("Max open files")],
        [Some(Some("1073741824")), Some(Some("64"))]
    );
    world.finish(&client).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn i3_the_memory_and_the_time_of_a_child_are_in_the_list_and_in_the_metrics() {
    let world = World::new(Kind::Isolated);
    let client = world.client(&scripted([]), [world.probe("a", 1, json!({}))]).await;
    while process(&client, "a").memory == 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let metrics = client.render_metrics();
    for name in [
        "memory_bytes{plugin=\"a\"}",
        "cpu_seconds_total{plugin=\"a\"}",
        "info{plugin=\"a\",state=\"active\"} 1",
    ] {
        assert!(metrics.contains(&format!("llmux_plugin_child_{name}")), "{metrics}");
    }
    world.finish(&client).await;
}

#[tokio::test]
async fn i7_a_flood_of_log_records_harms_no_request_and_the_dropped_ones_are_counted() {
    let logs = Capture::llmux();
    let world = World::new(Kind::Isolated);
    let plugins =
        [world.probe("a", 1, json!({"pre": dies("flood")})), world.probe("b", 2, json!({"pre": []}))];
    let client = world.client(&scripted([]), plugins).await;
    let flood = tokio::spawn({
        let client = client.clone();
        async move { ask(&client, "n", false).await }
    });
    for streams in [false, true].repeat(20) {
        assert_eq!(ask(&client, "m", streams).await, ["again"]);
    }
    assert_eq!(flood.await.expect("it ends"), ["again"]);
    assert_eq!((crashes(&client, "a", "pre_hook"), process(&client, "a").state), (0, "active"));
    let kept = logs.with(&["flood"]).len();
    assert!(0 < kept && kept <= 100_000, "{kept}");
    world.finish(&client).await;
}

#[tokio::test]
async fn i7_log_records_and_metrics_of_a_child_are_the_hosts() {
    let logs = Capture::llmux();
    let world = World::new(Kind::Isolated);
    let pre = json!([{"do": "event", "message": "from the child"}, {"do": "count", "label": "x"}]);
    let plugin = world.probe("a", 1, json!({"counter": "isolated_total", "pre": pre}));
    let client = world.client(&scripted([]), [plugin]).await;
    for _ in 0..2 {
        assert_eq!(ask(&client, "m", false).await, ["again"]);
    }
    let metric = "isolated_total{label=\"x\",plugin=\"a\"} 2";
    assert!(client.render_metrics().contains(metric), "{}", client.render_metrics());
    let records = logs.with(&["from the child"]);
    assert_eq!(records.len(), 2, "{:#?}", logs.lines());
    assert!(records[0].starts_with("WARN llmux::plugin") && records[0].contains("answer"), "{records:?}");
    // The metrics of a child end with it.
    let before = process(&client, "a").pid;
    kill(before.expect("a child"));
    wait_for(&client, "a", "active", before).await;
    assert!(!client.render_metrics().contains(metric), "{}", client.render_metrics());
    assert_eq!(logs.with(&["a plugin's child process died", "signal 9 (SIGKILL)"]).len(), 1);
    world.finish(&client).await;
}
