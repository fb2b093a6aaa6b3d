//! Rules I1 to I4 and I6: an instance in a child process, whose death is a failure of its calls and of nothing else.

use llmux_core::{
    Client, Endpoint, PluginSpec, Request,
    isolation::ChildProgram,
    pipeline::PipelineConfig,
    plugins::{Change, HookInfo, Isolation, OnError, PluginError, PluginInfo, PluginsConfig, ProcessInfo},
};
use llmux_tests::{
    Fixtures, Kind, Turn, World, scripted,
    world::{all, builder, built, chat, child_program, said},
};
use serde_json::{Value, json};
use std::time::Duration;

/// The hooks of a request, by their names in the list, with their names in a probe's configuration.
pub(crate) const HOOKS: [(&str, &str, bool); 6] = [
    ("pre_hook", "pre", false),
    ("post_hook", "post", false),
    ("on_complete", "complete", false),
    ("pre_stream_hook", "pre_stream", true),
    ("on_stream_chunk", "chunk", true),
    ("post_stream_hook", "post_stream", true),
];

pub(crate) fn info(client: &Client, name: &str) -> PluginInfo {
    client.plugins().list().into_iter().find(|info| info.name == name).expect("listed")
}

pub(crate) fn process(client: &Client, name: &str) -> ProcessInfo {
    info(client, name).process.expect("a process")
}

pub(crate) fn crashes(client: &Client, name: &str, hook: &str) -> u64 {
    let of_hook = |it: &HookInfo| (it.hook == hook).then_some(it.crashes);
    info(client, name).hooks.iter().find_map(of_hook).unwrap_or_default()
}

/// Waits until the child of an instance is in this state, and is another one than `not`.
pub(crate) async fn wait_for(client: &Client, name: &str, state: &str, not: Option<u32>) -> ProcessInfo {
    loop {
        let process = process(client, name);
        if process.state == state && (not.is_none() || process.pid != not) {
            return process;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// A script that dies if the model is `n`.
pub(crate) fn dies(how: &str) -> Value {
    json!([{"do": "only", "what": "model", "is": "n"}, {"do": "die", "how": how}])
}

pub(crate) async fn ask(client: &Client, model: &str, streams: bool) -> Vec<String> {
    match streams {
        true => all(client.stream(chat(model)).await).await,
        false => vec![said(&client.send(chat(model)).await)],
    }
}

/// Kills a process.
pub(crate) fn kill(pid: u32) {
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
async fn i4_a_child_that_is_stopped_is_killed_after_the_timeout_of_its_hook() {
    let world = World::new(Kind::Isolated);
    let pipeline = PipelineConfig::default().with_pre_hook_timeout(Duration::from_millis(200));
    let stops = world.probe("a", 1, json!({"pre": dies("stop")}));
    let client = built(builder(&scripted([])).pipeline(pipeline), [stops]).await;
    let before = process(&client, "a").pid;
    assert_eq!(ask(&client, "n", true).await, ["again"]);
    let after = wait_for(&client, "a", "active", before).await;
    assert_eq!(after.deaths.get("killed"), Some(&1), "{after:?}");
    assert_eq!(ask(&client, "m", true).await, ["again"]);
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
async fn i3_a_request_without_a_state_goes_on_in_the_new_child() {
    let world = World::new(Kind::Isolated);
    let reads = json!([{"do": "tell", "what": "header:x-tenant"}, {"do": "tell", "what": "body:/stop"}]);
    let mut scripts = json!({"pre_stream": reads, "complete": [{"do": "tell", "what": "header:x-tenant"}]});
    scripts["chunk"] = json!([{"do": "tell", "what": "header:x-tenant"}, {"do": "shout"}]);
    let plugin = world.probe("reads", 1, scripts).with_on_error(OnError::Fail);
    let client = world.client(&scripted([Turn::stall(vec![json!("one")])]), [plugin]).await;
    // A body that the child reads in the memory of the host, and headers that it keeps.
    let body =
        json!({"model": "m", "messages": [{"role": "user", "content": "x".repeat(20_000)}], "stop": 1});
    let mut headers = http::HeaderMap::new();
    headers.insert("x-tenant", http::HeaderValue::from_static("acme"));
    let request = Request::of(Endpoint::ChatCompletions, &body).expect("a request").with_headers(headers);
    let mut stream = client.stream(request).await.result.expect("a stream");
    let first = stream.next().await.expect("a chunk").expect("a chunk");
    assert_eq!(llmux_tests::world::text(&first), "ONE");
    let before = process(&client, "reads").pid;
    kill(before.expect("a child"));
    wait_for(&client, "reads", "active", before).await;
    drop(stream);
    world.wait_for("reads.complete header:x-tenant = acme", 1).await;
    for hook in ["pre_stream", "chunk"] {
        assert_eq!(world.count(&format!("reads.{hook} header:x-tenant = acme")), 1, "{hook}");
    }
    assert_eq!(crashes(&client, "reads", "on_complete"), 0);
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
