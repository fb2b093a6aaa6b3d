//! Rules I1 to I6: an instance in a child process, whose death is a failure of its calls and of nothing else.

use llmux_core::{
    Client, PluginSpec,
    isolation::ChildProgram,
    pipeline::PipelineConfig,
    plugins::{
        Change, HookInfo, Isolation, OnError, PluginError, PluginInfo, PluginsConfig, ProcessInfo,
        SandboxParts,
    },
};
use llmux_tests::{
    Capture, Fixtures, Kind, Turn, World, scripted,
    world::{all, builder, built, chat, child_program, said},
};
use serde_json::{Value, json};
use std::time::Duration;

/// The hooks of a request, by their names in the list, with their names in a probe's configuration.
const HOOKS: [(&str, &str, bool); 6] = [
    ("pre_hook", "pre", false),
    ("post_hook", "post", false),
    ("on_complete", "complete", false),
    ("pre_stream_hook", "pre_stream", true),
    ("on_stream_chunk", "chunk", true),
    ("post_stream_hook", "post_stream", true),
];

fn info(client: &Client, name: &str) -> PluginInfo {
    client.plugins().list().into_iter().find(|info| info.name == name).expect("listed")
}

fn process(client: &Client, name: &str) -> ProcessInfo {
    info(client, name).process.expect("a process")
}

fn crashes(client: &Client, name: &str, hook: &str) -> u64 {
    let of_hook = |it: &HookInfo| (it.hook == hook).then_some(it.crashes);
    info(client, name).hooks.iter().find_map(of_hook).unwrap_or_default()
}

/// Waits until the child of an instance is in this state, and is another one than `not`.
async fn wait_for(client: &Client, name: &str, state: &str, not: Option<u32>) -> ProcessInfo {
    loop {
        let process = process(client, name);
        if process.state == state && (not.is_none() || process.pid != not) {
            return process;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// A script that dies if the model is `n`.
fn dies(how: &str) -> Value {
    json!([{"do": "only", "what": "model", "is": "n"}, {"do": "die", "how": how}])
}

async fn ask(client: &Client, model: &str, streams: bool) -> Vec<String> {
    match streams {
        true => all(client.stream(chat(model)).await).await,
        false => vec![said(&client.send(chat(model)).await)],
    }
}

/// Kills a process.
fn kill(pid: u32) {
    let killed = std::process::Command::new("kill").args(["-KILL", &pid.to_string()]).status();
    assert!(killed.expect("kill").success());
}

async fn dies_in_each_hook(how: &str, reason: &str, message: &str) {
    let world = World::new(Kind::Isolated);
    let client = world.client(&scripted([]), []).await;
    for (hook, script, streams) in HOOKS {
        let mut scripts = json!({});
        scripts[script] = dies(how);
        client.plugins().load(world.probe(script, 1, scripts)).await.expect("loaded");
        let before = process(&client, script).pid;
        assert_eq!(ask(&client, "n", streams).await, ["again"], "{hook}: the request continues (rule E2)");
        let after = wait_for(&client, script, "active", before).await;
        assert_eq!(crashes(&client, script, hook), 1, "{hook}: {after:?}");
        assert_eq!(after.deaths.get(reason), Some(&1), "{hook}: {after:?}");
        assert!(after.last_death.as_ref().is_some_and(|it| it.contains(message)), "{hook}: {after:?}");
        assert_eq!(ask(&client, "m", streams).await, ["again"], "{hook}: a new child");
        assert_eq!(crashes(&client, script, hook), 1, "{hook}: the new child runs the hook");
        client.plugins().unload(script).await.expect("unloaded");
    }
    world.finish(&client).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn i3_a_segmentation_fault_in_a_hook_fails_its_call_and_nothing_else() {
    dies_in_each_hook("segv", "signal", "signal 11 (SIGSEGV)").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn i3_an_abort_in_a_hook_fails_its_call_and_nothing_else() {
    dies_in_each_hook("abort", "signal", "signal 6 (SIGABRT)").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn i3_a_stack_overflow_in_a_hook_fails_its_call_and_nothing_else() {
    dies_in_each_hook("overflow", "signal", "has overflowed its stack").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn i3_an_exit_in_a_hook_fails_its_call_and_nothing_else() {
    dies_in_each_hook("exit", "exit", "exit code 0").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn i4_an_endless_loop_in_a_hook_is_a_timeout_and_the_child_is_replaced() {
    let world = World::new(Kind::Isolated);
    let limit = Duration::from_millis(200);
    let pipeline = PipelineConfig::default().with_pre_hook_timeout(limit).with_post_hook_timeout(limit);
    let client = built(builder(&scripted([])).pipeline(pipeline), []).await;
    for (hook, script, streams) in HOOKS {
        let mut scripts = json!({});
        scripts[script] = dies("loop");
        client.plugins().load(world.probe(script, 1, scripts)).await.expect("loaded");
        let before = process(&client, script).pid;
        assert_eq!(ask(&client, "n", streams).await, ["again"], "{hook}");
        let after = wait_for(&client, script, "active", before).await;
        // Later hooks of this request wait for the loop, and run past their timeouts, too.
        let timeouts = info(&client, script).hooks.iter().find(|it| it.hook == hook).map(|it| it.timeouts);
        assert_eq!((timeouts, after.deaths.get("killed")), (Some(1), Some(&1)), "{hook}: {after:?}");
        client.plugins().unload(script).await.expect("unloaded");
    }
    world.finish(&client).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn i4_a_hook_that_waits_past_its_timeout_is_cancelled_and_its_child_lives_on() {
    let world = World::new(Kind::Isolated);
    let pipeline = PipelineConfig::default().with_pre_hook_timeout(Duration::from_millis(200));
    let waits = json!({"pre": [{"do": "hold_mark"}, {"do": "sleep", "ms": 3_600_000}]});
    let client = built(builder(&scripted([])).pipeline(pipeline), [world.probe("a", 1, waits)]).await;
    let before = process(&client, "a").pid;
    assert_eq!(ask(&client, "m", false).await, ["again"]);
    world.wait_for("a.pre future dropped", 1).await;
    assert_eq!(process(&client, "a").pid, before, "the same child");
    world.finish(&client).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn i3_the_fifth_death_within_a_minute_fails_the_instance_and_it_is_never_skipped() {
    let world = World::new(Kind::Isolated);
    let guard = world.probe("guard", 1, json!({"pre": dies("abort")})).with_on_error(OnError::Fail);
    let client = world.client(&scripted([]), [guard]).await;
    let mut said = vec![];
    for _ in 0..5 {
        said.push(ask(&client, "n", false).await.concat());
        if process(&client, "guard").state != "failed" {
            wait_for(&client, "guard", "active", None).await;
        }
    }
    let failed = process(&client, "guard");
    assert_eq!((failed.state, failed.deaths.get("signal")), ("failed", Some(&5)), "{failed:?}");
    // A crash word of one client does not open the way for others.
    said.push(ask(&client, "m", false).await.concat());
    assert!(said.iter().all(|it| it.starts_with("!500")), "{said:?}");
    assert_eq!(crashes(&client, "guard", "pre_hook"), 6);
    // `/readyz` asks for these.
    assert_eq!(**client.plugins().inactive(), ["guard"]);
    let metrics = client.render_metrics();
    for line in
        ["deaths_total{plugin=\"guard\",reason=\"signal\"} 5", "info{plugin=\"guard\",state=\"failed\"} 1"]
    {
        assert!(metrics.contains(&format!("llmux_plugin_child_{line}")), "{metrics}");
    }
    world.finish(&client).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn i3_a_request_whose_state_died_fails_in_each_later_hook_and_never_meets_the_new_child() {
    let world = World::new(Kind::Isolated);
    let scripts = json!({"pre": [{"do": "state"}], "chunk": [{"do": "shout"}]});
    let plugin = world.probe("mask", 1, scripts).with_on_error(OnError::Fail);
    let client = world.client(&scripted([Turn::stall(vec![json!("one")])]), [plugin]).await;
    let mut stream = client.stream(chat("m")).await.result.expect("a stream");
    let first = stream.next().await.expect("a chunk").expect("a chunk");
    assert_eq!(llmux_tests::world::text(&first), "ONE");
    let before = process(&client, "mask").pid;
    kill(before.expect("a child"));
    wait_for(&client, "mask", "active", before).await;
    drop(stream);
    while crashes(&client, "mask", "on_complete") == 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(world.of("complete"), [""; 0], "the new child never sees the request");
    assert_eq!(ask(&client, "m", true).await, ["AGAIN"], "another request has the new child");
    world.finish(&client).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn i3_other_requests_of_the_same_child_fail_with_it_and_those_elsewhere_do_not() {
    let world = World::new(Kind::Isolated);
    let waits = json!({"pre": [
        {"do": "only", "what": "model", "is": "o"},
        {"do": "touch", "path": world.text_path("waiting")},
        {"do": "sleep", "ms": 3_600_000},
    ]});
    let plugins = [
        world.probe("waits", 1, waits).with_on_error(OnError::Fail),
        world.probe("other", 2, json!({"pre": [{"do": "state"}], "post": [{"do": "state"}]})),
    ];
    let client = world.client(&scripted([]), plugins).await;
    let waiting = tokio::spawn({
        let client = client.clone();
        async move { said(&client.send(chat("o")).await) }
    });
    while !world.path("waiting").exists() {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    kill(process(&client, "waits").pid.expect("a child"));
    assert!(waiting.await.expect("it ends").starts_with("!500"));
    assert_eq!(process(&client, "other").deaths.len(), 0);
    assert_eq!(ask(&client, "m", false).await, ["again"], "the call waits for the new child");
    assert_eq!(crashes(&client, "waits", "pre_hook"), 1);
    world.finish(&client).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn i6_an_unload_ends_the_child_and_leaves_no_image() {
    let world = World::new(Kind::Isolated);
    let client = world.client(&scripted([]), [world.probe("a", 1, json!({}))]).await;
    let pid = process(&client, "a").pid.expect("a child");
    assert!(std::path::Path::new(&format!("/proc/{pid}")).exists());
    client.plugins().change(vec![Change::Reload("a".into())]).await.expect("reloaded");
    let next = process(&client, "a").pid.expect("a child");
    client.plugins().unload("a").await.expect("unloaded");
    for pid in [pid, next] {
        assert!(!std::path::Path::new(&format!("/proc/{pid}")).exists(), "{pid}");
    }
    assert_eq!(client.plugins().retired().count, 0);
    assert_eq!(world.count("a.drop"), world.count("a.new"), "{:?}", world.lines());
    world.finish(&client).await;
}

#[tokio::test]
async fn i1_the_setting_is_refused_for_a_compiled_in_plugin_and_without_a_program() {
    let world = World::new(Kind::Compiled);
    let client = world.client(&scripted([]), []).await;
    let compiled = world.probe("a", 1, json!({})).with_isolation(Isolation::Process);
    let refused = client.plugins().load(compiled).await.expect_err("refused").to_string();
    assert_eq!(
        refused,
        "`a` cannot run with `isolation = \"process\"`: the plugin is compiled into the host; only a library can run in a \
         child process"
    );
    for (program, why) in [
        (None, "no program for child processes"),
        (Some(ChildProgram::new("/nowhere/llmux", [""; 0])), "/nowhere/llmux: No such file"),
        (Some(ChildProgram::new("true", [""; 0])), "exit code 0"),
        (
            Some(ChildProgram::new("sh", ["-c", "head -c 100 /dev/urandom >&0; sleep 100"])),
            "was killed: sent",
        ),
    ] {
        let plugins = PluginsConfig::default().with_child(program).with_isolation(Isolation::Process);
        let client = built(builder(&scripted([])).plugins(plugins), []).await;
        let refused = client.plugins().load(PluginSpec::path(Fixtures::get().probe())).await;
        match refused {
            Err(error @ (PluginError::Isolation { .. } | PluginError::Construction { .. })) => {
                assert!(error.to_string().contains(why), "{error}");
            }
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn i1_the_default_of_the_registry_isolates_libraries_and_leaves_compiled_in_plugins() {
    let world = World::new(Kind::Loaded);
    let plugins =
        PluginsConfig::default().with_child(Some(child_program())).with_isolation(Isolation::Process);
    let compiled = World::new(Kind::Compiled);
    let specs = [
        world.probe("library", 1, json!({})),
        world.probe("asked", 2, json!({})).with_isolation(Isolation::None),
        compiled.probe("compiled", 3, json!({})),
    ];
    let client = built(builder(&scripted([])).plugins(plugins), specs).await;
    let has_process = |name| info(&client, name).process.is_some();
    assert_eq!(["library", "asked", "compiled"].map(has_process), [true, false, false]);
    assert_eq!(ask(&client, "m", false).await, ["again"]);
    world.finish(&client).await;
}

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
    let missing = |name| process(&client, name).missing_sandbox;
    assert!(!missing("none").iter().any(|part| part.contains("programs")), "{:?}", missing("none"));
    let programs =
        "programs that this plugin starts can run on if the host is killed (the host uses no cgroup)";
    assert!(missing("all").iter().any(|part| part == programs), "{:?}", missing("all"));
    world.finish(&client).await;
}

#[tokio::test]
async fn i5_missing_parts_are_logged_once_and_refuse_an_instance_that_needs_every_part() {
    let logs = Capture::llmux();
    let world = World::new(Kind::Isolated);
    let client = world.client(&scripted([]), []).await;
    let lacks = world.sandbox().with_processes(Some(true));
    let needs = lacks.clone().with_sandbox(Some(SandboxParts::Required));
    let refused = client.plugins().load(world.probe("a", 1, json!({})).with_sandbox(needs)).await;
    let refused = refused.expect_err("refused").to_string();
    let expected = "sandbox of `a`: `sandbox = \"required\"` needs every part of the sandbox, and this system lacks some: ";
    assert!(refused.starts_with(expected) && refused.contains("the host uses no cgroup"), "{refused}");
    assert_eq!(world.count("a.new"), 0, "no code of the library has run");
    client.plugins().load(world.probe("a", 1, json!({})).with_sandbox(lacks)).await.expect("loaded");
    let before = process(&client, "a").pid;
    kill(before.expect("a child"));
    wait_for(&client, "a", "active", before).await;
    let said = logs.with(&["the sandbox of a plugin is incomplete", "the host uses no cgroup"]);
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
