//! Rules D3 to D7: reload, unload, disable, and changes of the file of a loaded plugin.

use std::{fs, io::Write, path::PathBuf, time::Duration};

use llmux_core::{
    PluginSpec,
    plugins::{
        Change, LibraryError, OnError, PluginError, PluginInfo, PluginState, PluginsConfig, Setting,
        Unloaded, VerifyOptions, verify,
    },
};
use llmux_tests::{
    Capture, Fixtures, Kind, Turn, World, in_process, kinds, scripted,
    world::{builder, built, chat, plugins, read, said},
};
use serde_json::json;

fn info(client: &llmux_core::Client, name: &str) -> PluginInfo {
    client.plugins().list().into_iter().find(|info| info.name == name).expect("an instance")
}

/// Returns a probe from a copy of its library that the test may change.
fn from_copy(world: &World, name: &str, scripts: serde_json::Value) -> (PathBuf, PluginSpec) {
    let path = world.path("copy.so");
    if !path.exists() {
        fs::copy(Fixtures::get().probe(), &path).expect("a copy");
    }
    (path.clone(), PluginSpec::path(path).with_name(name).with_config(world.scripts(scripts)))
}

kinds! {
    async fn d3_a_failed_load_leaves_the_pipeline_as_it_was(world: World) {
        let provider = scripted([]);
        let client = world.client(&provider, [world.probe("a", 1, json!({}))]).await;
        let fails = world.probe("b", 2, json!({"new": [{"do": "fail", "message": "no"}]}));
        assert!(matches!(client.plugins().load(fails).await, Err(PluginError::Construction { .. })));
        client.send(chat("m")).await;
        assert_eq!(world.chain(), ["a.pre", "a.post"]);
    }

    async fn d3_a_construction_that_fails_leaves_nothing_behind(world: World) {
        let client = world.client(&scripted([]), [world.probe("a", 1, json!({}))]).await;
        let register = json!({"do": "register", "counter": "half_made_total"});
        let births = json!({"new": [register, {"do": "spawn"}, {"do": "fail", "message": "no"}]});
        let refused = client.plugins().load(world.probe("b", 2, births)).await;
        assert!(matches!(refused, Err(PluginError::Construction { .. })), "{refused:?}");
        assert_eq!(world.count("b.new registered"), 1, "the construction came so far");
        assert_eq!(world.count("b.new spawned = true"), 1, "the construction came so far");
        if world.kind != Kind::Isolated {
            // A child that is killed records nothing.
            world.wait_for("b.task ended", 1).await;
        }
        let metrics = client.render_metrics();
        assert!(!metrics.contains("half_made_total"), "{metrics}");
        let names: Vec<_> = client.plugins().list().into_iter().map(|info| info.name).collect();
        assert_eq!(names, ["a"]);
        client.send(chat("m")).await;
        assert_eq!(world.chain().iter().filter(|line| *line == "a.pre").count(), 1, "the pipeline is as it was");
    }

    async fn d3_a_construction_that_times_out_leaves_nothing_behind(world: World) {
        let client = world.client(&scripted([]), [world.probe("a", 1, json!({}))]).await;
        let (register, gate) = (json!({"do": "register", "counter": "half_made_total"}), world.text_path("gate"));
        let blocks = json!({"do": "block_until", "path": gate});
        let spec = world.probe("b", 2, json!({"new": [register, {"do": "spawn"}, blocks]}));
        let plugins = client.plugins().clone();
        let loading = tokio::spawn(async move { plugins.load(spec).await });
        world.spin_for("b.new spawned = true").await;
        tokio::time::advance(Duration::from_secs(11)).await;
        let refused = loading.await.expect("no panic");
        assert!(matches!(refused, Err(PluginError::Construction { .. })), "{refused:?}");
        // The constructor still holds its thread, so the paused clock stands still: no wait but a spin ends. A child was killed,
        // and records nothing.
        let metrics = client.render_metrics();
        assert!(!metrics.contains("half_made_total"), "{metrics}");
        if world.kind != Kind::Isolated {
            world.spin_for("b.task ended").await;
            fs::write(&gate, "").expect("the gate opens");
            world.wait_for("b.drop", 1).await;
        }
        client.send(chat("m")).await;
        assert_eq!(world.chain(), ["a.pre", "a.post"], "the pipeline is as it was");
    }

    async fn d4_a_change_of_configuration_makes_a_new_instance_on_the_same_image(world: World) {
        let provider = scripted([]);
        let client = world.client(&provider, [world.probe("a", 1, json!({"counter": "seen_total"}))]).await;
        let before = info(&client, "a");
        let config = world.scripts(json!({"counter": "seen_total", "pre": [{"do": "count", "label": "x"}]}));
        let update = |config| Change::Update {
            name: "a".into(), priority: Setting::Keep, on_error: Setting::Keep, config: Setting::Set(config),
        };
        client.plugins().change(vec![update(config)]).await.expect("changed");
        world.wait_for("a.drop", 1).await;
        client.send(chat("m")).await;
        let after = info(&client, "a");
        assert_eq!((after.generation, after.sha256), (before.generation, before.sha256), "the image");
        assert_eq!((world.count("a.new"), world.count("a.cleanup")), (2, 1), "the instances");
        let metrics = client.render_metrics();
        assert!(metrics.contains("seen_total{label=\"x\",plugin=\"a\"} 1"), "its metrics: {metrics}");
        let refused = client.plugins().change(vec![update(json!({"pre": 7}))]).await;
        assert!(matches!(refused, Err(PluginError::Config { .. })), "{refused:?}");
        client.send(chat("m")).await;
        assert!(client.render_metrics().contains("seen_total{label=\"x\",plugin=\"a\"} 2"), "it serves on");
    }

    async fn d4_a_setting_that_is_cleared_is_the_default_again_on_the_same_instance(world: World) {
        let provider = scripted([]);
        let plain = world.kind.spec::<llmux_probe::Probe>(Fixtures::probe);
        let client = world.client(&provider, [plain.with_name("plain")]).await;
        let default = info(&client, "plain");
        let scripts = json!({"pre": [{"do": "reject", "status": 418, "message": "a"}]});
        let spec = world.probe("a", default.priority + 7, scripts);
        client.plugins().load(spec.with_on_error(OnError::Fail)).await.expect("loaded");
        let update = |config| Change::Update {
            name: "a".into(), priority: Setting::Clear, on_error: Setting::Clear, config,
        };
        client.plugins().change(vec![update(Setting::Keep)]).await.expect("changed");
        let cleared = info(&client, "a");
        assert_eq!((cleared.priority, cleared.on_error), (default.priority, OnError::Continue));
        assert_eq!((world.count("a.new"), world.count("a.cleanup")), (1, 0), "the same instance");
        assert_eq!(said(&client.send(chat("m")).await), "!418 scripted: a", "its configuration stays");
        client.plugins().change(vec![update(Setting::Clear)]).await.expect("changed");
        world.wait_for("a.drop", 1).await;
        assert_eq!(said(&client.send(chat("m")).await), "again", "its configuration is the default");
        let after = info(&client, "a");
        assert_eq!((after.generation, after.sha256), (cleared.generation, cleared.sha256), "the image");
    }

    async fn d5_unload_cleans_up_ends_the_tasks_and_drops(world: World) {
        let provider = scripted([]);
        let scripts = json!({
            "counter": "gone_total",
            "pre": [{"do": "spawn", "task": "tick"}, {"do": "count", "label": "x"}],
        });
        let client = world.client(&provider, [world.probe("a", 1, scripts)]).await;
        client.send(chat("m")).await;
        world.wait_for("a.task tick", 3).await;
        assert!(client.render_metrics().contains("gone_total"), "its metric is there");
        assert_eq!(client.plugins().unload("a").await.expect("unloaded"), Unloaded::Gone);
        let end: Vec<String> = world.lines().into_iter().filter(|line| !line.contains("tick")).collect();
        assert_eq!(end[end.len() - 3..], ["a.cleanup", "a.task ended", "a.drop"], "{end:?}");
        let ticks = world.count("a.task tick");
        tokio::time::sleep(Duration::from_secs(60)).await;
        assert_eq!(world.count("a.task tick"), ticks, "its task runs on");
        assert!(!client.render_metrics().contains("gone_total"), "its metrics are gone");
        assert_eq!(said(&client.send(chat("m")).await), "again");
        assert_eq!(world.count("a.pre"), 1, "it acts on no request any more");
    }

    async fn d5_an_unload_answers_draining_at_its_timeout_and_goes_on(world: World) {
        let provider = scripted([Turn::paced(vec![json!("one"), json!("two")])]);
        let config = plugins().with_drain_timeout(Duration::from_secs(7));
        let client = built(builder(&provider).plugins(config), [world.probe("a", 1, json!({}))]).await;
        let mut stream = client.stream(chat("m")).await.result.expect("a stream");
        let begun = tokio::time::Instant::now();
        assert_eq!(client.plugins().unload("a").await.expect("unloaded"), Unloaded::Draining);
        assert_eq!(begun.elapsed().as_secs(), 7, "seconds of a clock that is held");
        assert_eq!(info(&client, "a").state, PluginState::Draining);
        read(&mut stream).await;
        drop(stream);
        world.wait_for("a.drop", 1).await;
        assert_eq!(world.of("cleanup"), ["a"]);
        assert_eq!(PluginsConfig::default().drain_timeout.as_secs(), 30, "the default");
    }

    async fn d7_disable_keeps_an_instance_alive_and_enable_puts_it_back(world: World) {
        let provider = scripted([]);
        let client = world.client(&provider, [world.probe("a", 1, json!({}))]).await;
        client.plugins().change(vec![Change::Disable("a".into())]).await.expect("disabled");
        client.send(chat("m")).await;
        assert_eq!(world.of("pre"), Vec::<String>::new());
        assert_eq!(info(&client, "a").state, PluginState::Disabled);
        client.plugins().change(vec![Change::Enable("a".into())]).await.expect("enabled");
        client.send(chat("m")).await;
        assert_eq!(world.of("pre"), ["a"]);
        assert_eq!((world.count("a.new"), world.count("a.cleanup")), (1, 0), "the same instance throughout");
    }
}

in_process! {
    "An isolated instance takes nothing over from the old one (rule I1)." {
        async fn d4_a_new_instance_takes_over_what_the_old_one_shares(world: World) {
            let provider = scripted([]);
            let counts = json!({"renews": true, "pre": [{"do": "share"}]});
            let client = world.client(&provider, [world.probe("a", 1, counts.clone())]).await;
            client.send(chat("m")).await;
            let set = |config| Change::Update {
                name: "a".to_owned(), priority: Setting::Keep, on_error: Setting::Keep, config: Setting::Set(config),
            };
            let fails = world.scripts(json!({"renews": true, "new": [{"do": "fail", "message": "no"}]}));
            let refused = client.plugins().change(vec![set(fails)]).await;
            assert!(matches!(refused, Err(PluginError::Construction { .. })), "{refused:?}");
            client.send(chat("m")).await;
            client.plugins().change(vec![set(world.scripts(counts))]).await.expect("changed");
            client.send(chat("m")).await;
            world.finish(&client).await;
            assert_eq!(world.of("renew"), ["a after 1"], "only the change that was made");
            let shared: Vec<_> = world.of("pre").into_iter().filter(|line| line.contains("shared")).collect();
            assert_eq!(shared, ["a shared = 1", "a shared = 2", "a shared = 3"]);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn d4_reload_swaps_all_instances_of_a_library_and_retires_the_old_image() {
    let world = World::new(Kind::Loaded);
    let provider = scripted([]);
    let counts = json!({"counter": "seen_total", "pre": [{"do": "count", "label": "x"}]});
    let (path, first) = from_copy(&world, "a", counts);
    let (_, second) = from_copy(&world, "b", json!({}));
    let client = world.client(&provider, [first, second, world.guard(json!({}))]).await;
    client.send(chat("m")).await;
    client.plugins().change(vec![Change::Reload("b".into())]).await.expect("reloaded");
    world.wait_for("a.drop", 1).await;
    world.wait_for("b.drop", 1).await;
    client.send(chat("m")).await;
    let generations = ["a", "b", "guard"].map(|name| info(&client, name).generation);
    assert_eq!(generations, [2, 2, 1], "another library is left alone");
    assert_eq!(client.plugins().retired().count, 1, "retired images");
    assert_eq!(client.plugins().retired().bytes, fs::metadata(path).expect("a file").len(), "and their size");
    let metrics = client.render_metrics();
    assert!(
        metrics.contains("seen_total{label=\"x\",plugin=\"a\"} 2"),
        "the new generation's metrics: {metrics}"
    );
}

#[tokio::test(start_paused = true)]
async fn d4_a_reload_that_fails_leaves_the_old_generation() {
    let world = World::new(Kind::Loaded);
    let provider = scripted([]);
    let (path, spec) = from_copy(&world, "a", json!({}));
    let client = world.client(&provider, [spec]).await;
    let reload = || client.plugins().change(vec![Change::Reload("a".into())]);
    fs::copy(Fixtures::get().guard(), &path).expect("another plugin");
    assert!(matches!(reload().await, Err(PluginError::OtherPlugin { .. })));
    fs::write(&path, "garbage").expect("garbage");
    assert!(matches!(reload().await, Err(PluginError::Library { .. })));
    fs::remove_file(&path).expect("removed");
    assert!(matches!(reload().await, Err(PluginError::Library { .. })));
    client.send(chat("m")).await;
    assert_eq!((world.of("pre").len(), info(&client, "a").generation), (1, 1));
}

/// A reload of a library is refused if an instance requires the checksum of the running bytes.
#[tokio::test(start_paused = true)]
async fn d4_a_reload_is_held_to_the_checksums_of_all_instances_of_the_library() {
    let world = World::new(Kind::Loaded);
    let (path, free) = from_copy(&world, "free", json!({}));
    let client = world.client(&scripted([]), [free]).await;
    let sha256 = info(&client, "free").sha256.expect("a library");
    let (_, bound) = from_copy(&world, "bound", json!({}));
    client.plugins().load(bound.with_sha256(&sha256)).await.expect("loaded");
    client.plugins().change(vec![Change::Reload("free".into())]).await.expect("the same bytes");
    fs::OpenOptions::new()
        .append(true)
        .open(&path)
        .and_then(|mut file| file.write_all(b"more"))
        .expect("other bytes");
    for name in ["free", "bound"] {
        let refused = client.plugins().change(vec![Change::Reload(name.into())]).await;
        let asks = |error: &LibraryError| matches!(error, LibraryError::Checksum { expected, .. } if *expected == sha256);
        assert!(
            matches!(&refused, Err(PluginError::Library { error, .. }) if asks(error)),
            "{name}: {refused:?}"
        );
    }
    let generations = ["free", "bound"].map(|name| info(&client, name).generation);
    assert_eq!(generations, [2, 2], "both run the bytes that one of them asks for");
}

/// The record of a refusal names the new bytes and the bytes that they would replace, each with version and hash.
#[tokio::test(start_paused = true)]
async fn d3_the_account_of_a_refusal_has_the_version_and_hash_of_both_files() {
    let world = World::new(Kind::Loaded);
    let logs = Capture::llmux();
    let (path, spec) = from_copy(&world, "a", json!({}));
    let client = world.client(&scripted([]), [spec]).await;
    let old = info(&client, "a").sha256.expect("a library");
    let refused = async |bytes: &[u8], version: Option<&str>| {
        fs::write(&path, bytes).expect("written");
        let new = verify(&path, &VerifyOptions::default().with_sha256(Some("00".into())));
        let Err(LibraryError::Checksum { found: new, .. }) = new else { panic!("{new:?}") };
        let mut told = client.plugins().subscribe();
        client.plugins().change(vec![Change::Reload("a".into())]).await.expect_err("refused");
        let event = told.try_recv().expect("an event");
        let (before, after) = (event.old.expect("it runs"), event.new.expect("it was read"));
        assert_eq!((before.sha256.as_ref(), before.version.as_deref()), (Some(&old), Some("0.1.0")));
        assert_eq!((after.sha256.as_ref(), after.version.as_deref()), (Some(&new), version));
        let line = logs.with(&[
            "llmux::audit",
            "refused",
            &format!("old_sha256={old}"),
            &format!("new_sha256={new}"),
        ]);
        assert_eq!(line.len(), 1, "{:#?}", logs.lines());
    };
    let guard = fs::read(Fixtures::get().guard()).expect("the guard");
    refused(&guard, Some("0.1.0")).await;
    refused(&guard[..5000], None).await;
    fs::remove_file(&path).expect("removed");
    let mut told = client.plugins().subscribe();
    client.plugins().change(vec![Change::Reload("a".into())]).await.expect_err("refused");
    assert_eq!(told.try_recv().expect("an event").new, None, "there was nothing to read");
}

#[tokio::test(start_paused = true)]
async fn d4_a_compiled_in_plugin_cannot_be_reloaded() {
    let world = World::new(Kind::Compiled);
    let client = world.client(&scripted([]), [world.probe("a", 1, json!({}))]).await;
    let refused = client.plugins().change(vec![Change::Reload("a".into())]).await;
    assert!(matches!(refused, Err(PluginError::NotALibrary { .. })), "{refused:?}");
}

#[tokio::test(start_paused = true)]
async fn d6_what_happens_to_its_file_does_not_touch_a_running_image() {
    let world = World::new(Kind::Loaded);
    let provider = scripted([]);
    let (path, spec) = from_copy(&world, "a", json!({"pre": [{"do": "tell", "what": "model"}]}));
    let client = world.client(&provider, [spec]).await;
    let serves = async |what: &str, times: usize| {
        assert_eq!(said(&client.send(chat("m")).await), "again", "after it was {what}");
        assert_eq!(world.count("a.pre model = m"), times, "after it was {what}");
    };
    let length = fs::metadata(&path).expect("a file").len() as usize;
    fs::write(&path, vec![0xcc; length]).expect("overwritten");
    serves("overwritten", 1).await;
    fs::write(&path, "").expect("truncated");
    serves("truncated", 2).await;
    assert!(!info(&client, "a").file_missing);
    fs::remove_file(&path).expect("deleted");
    serves("deleted", 3).await;
    assert!(info(&client, "a").file_missing, "it says that its file is missing");
    let other = world.path("other.so");
    fs::copy(Fixtures::get().guard(), &other).expect("another library");
    fs::rename(&other, &path).expect("replaced");
    serves("replaced", 4).await;
    assert!(!info(&client, "a").file_missing);
}
