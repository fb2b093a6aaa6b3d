//! Rule D4 for libraries with `reload = "exclusive"`: files that change, and a configuration that names another one.

use std::{
    fs,
    path::Path,
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use llmux_core::{
    PluginSpec,
    plugins::{Change, Guards, Origin, PluginError, PluginState, PluginsConfig},
};
use llmux_tests::{
    Fixtures, Kind, Turn, World, scripted,
    world::{builder, built, chat},
};
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::exclusive::{config, info, lives, named, sending, tag};

/// Copies the exclusive library with other bytes.
fn copy_anew(to: &Path) {
    static COPIES: AtomicUsize = AtomicUsize::new(0);
    let mut bytes = fs::read(Fixtures::get().exclusive()).expect("the fixture");
    bytes.extend(COPIES.fetch_add(1, Ordering::Relaxed).to_string().bytes());
    fs::write(to, bytes).expect("written");
}

#[tokio::test(start_paused = true)]
async fn d4_an_exclusive_manifest_counts_whether_it_is_the_old_or_the_new_one() {
    let world = World::new(Kind::Loaded);
    let path = world.path("copy.so");
    fs::copy(Fixtures::get().overlapping(), &path).expect("a copy");
    let spec = PluginSpec::path(&path).with_name("x").with_config(config(&world, "x", "1", json!({})));
    let client = world.client(&scripted([]), [spec]).await;
    let reload = || client.plugins().change(vec![Change::Reload("x".into())]);
    reload().await.expect_err("the old instance holds the lock");
    for library in [Fixtures::get().exclusive(), Fixtures::get().overlapping()] {
        fs::copy(library, &path).expect("a copy");
        reload().await.expect("one of the two is exclusive");
    }
    assert_eq!(tag(&client.send(chat("m")).await), "1");
}

#[tokio::test(start_paused = true)]
async fn d4_a_configuration_reload_makes_a_failed_exclusive_instance_again() {
    let world = World::new(Kind::Loaded);
    let provider = scripted([]);
    let broken = world.path("broken");
    let spec = |tag: &str| {
        let spec = named(&world, "x", tag, json!({"broken": broken, "breaks": true}));
        builder(&provider).plugin(spec.with_origin(Origin::Config))
    };
    let client = spec("1").build().await.expect("a client");
    let refused = client.reconfigure(spec("2"), Guards::Keep).await;
    assert!(matches!(refused, Err(PluginError::NotRestored { .. })), "{refused:?}");
    client.reconfigure(spec("1"), Guards::Keep).await.expect_err("it is still broken");
    fs::remove_file(&broken).expect("repaired");
    client.reconfigure(spec("1"), Guards::Keep).await.expect("the same configuration");
    assert_eq!((tag(&client.send(chat("m")).await), client.plugins().inactive().len()), ("1".into(), 0));
}

#[tokio::test(start_paused = true)]
async fn d4_a_changed_file_of_an_exclusive_plugin_in_use_is_tried_once() {
    let world = World::new(Kind::Loaded);
    let folder = world.path("plugins");
    fs::create_dir(&folder).expect("a folder");
    let path = folder.join("exclusive.so");
    copy_anew(&path);
    let settings = PluginsConfig::default()
        .with_dirs(vec![folder])
        .with_allow_insecure_permissions(true)
        .with_exclusive_wait(Duration::from_secs(2));
    let spec = PluginSpec::path(&path).with_name("x").with_config(config(&world, "x", "1", json!({})));
    let client = built(builder(&scripted([Turn::hang()])).plugins(settings), [spec]).await;
    let holds = sending(&client);
    world.wait_for("x.pre 1", 1).await;
    copy_anew(&path);
    let begun = Instant::now();
    let changed = client.plugins().rescan().await.expect("a folder");
    assert!(matches!(changed.refused[..], [PluginError::InstanceInUse { .. }]), "{changed:?}");
    assert!(info(&client, "x").error.expect("a reason").contains("`exclusive_wait`"));
    assert_eq!(client.plugins().rescan().await.expect("a folder").refused.len(), 0);
    assert_eq!(begun.elapsed().as_secs(), 2, "the same file holds up requests once");
    holds.abort();
    client.plugins().change(vec![Change::Reload("x".into())]).await.expect("its time has come");
    assert_eq!((info(&client, "x").generation, info(&client, "x").error), (3, None));
}

#[tokio::test(start_paused = true)]
async fn d4_a_library_of_an_exclusive_plugin_is_reloaded_without_overlap() {
    let world = World::new(Kind::Loaded);
    let path = world.path("copy.so");
    copy_anew(&path);
    let spec = |name: &str| {
        let config = config(&world, name, "1", json!({}));
        PluginSpec::path(&path).with_name(name).with_config(config)
    };
    let client = world.client(&scripted([]), [spec("x"), spec("y")]).await;
    client.plugins().change(vec![Change::Reload("x".into())]).await.expect("reloaded");
    assert_eq!(["x", "y"].map(|name| info(&client, name).generation), [2, 2]);
    client.send(chat("m")).await;
    assert_eq!(world.of("pre"), ["x 1", "y 1"]);
    let of_x: Vec<_> = lives(&world).into_iter().filter(|line| line.starts_with("x.")).collect();
    assert_eq!(of_x, ["x.new 1", "x.cleanup 1", "x.drop 1", "x.new 1"]);
    fs::write(&path, "garbage").expect("written");
    client.plugins().change(vec![Change::Reload("x".into())]).await.expect_err("refused");
    assert_eq!(world.of("cleanup").len(), 2, "the file is checked first");
}

#[tokio::test(start_paused = true)]
async fn d4_a_configuration_that_names_another_library_replaces_an_exclusive_instance() {
    let world = World::new(Kind::Loaded);
    let provider = scripted([]);
    let (exclusive, overlapping) = (Fixtures::get().exclusive(), Fixtures::get().overlapping());
    let spec = |file: &str, library: &Path, more: Value| {
        fs::copy(library, world.path(file)).expect("a copy");
        let config = config(&world, "x", file, more);
        PluginSpec::path(world.path(file)).with_name("x").with_config(config).with_origin(Origin::Config)
    };
    let client = built(builder(&provider), [spec("1.so", &overlapping, json!({}))]).await;
    let reconfigure =
        async |spec| client.reconfigure(builder(&provider).plugin(spec), Guards::Keep).await.map(drop);
    reconfigure(spec("2.so", &exclusive, json!({}))).await.expect("changed");
    assert_eq!(tag(&client.send(chat("m")).await), "2.so");
    reconfigure(spec("3.so", &exclusive, json!({"fails": true}))).await.expect_err("it fails");
    assert_eq!(tag(&client.send(chat("m")).await), "2.so", "the old one from its own library");
    reconfigure(spec("4.so", &overlapping, json!({}))).await.expect("the old one is exclusive");
    assert_eq!(tag(&client.send(chat("m")).await), "4.so");
    assert_eq!(world.of("new"), ["x 1.so", "x 2.so", "x 3.so", "x 2.so", "x 4.so"]);
    assert_eq!(world.of("drop"), ["x 1.so", "x 2.so", "x 2.so"]);
}

#[tokio::test(start_paused = true)]
async fn d4_a_changed_file_of_an_exclusive_plugin_that_fails_hinders_no_other() {
    let world = World::new(Kind::Loaded);
    let folder = world.path("plugins");
    fs::create_dir(&folder).expect("a folder");
    let (path, guard) = (folder.join("exclusive.so"), folder.join("guard.so"));
    copy_anew(&path);
    let settings = PluginsConfig::default()
        .with_dirs(vec![folder])
        .with_autoload(true)
        .with_allow_insecure_permissions(true);
    let broken = world.path("broken");
    let config = config(&world, "x", "1", json!({"broken": broken}));
    let spec = PluginSpec::path(&path).with_name("x").with_config(config);
    let client = built(builder(&scripted([])).plugins(settings), [spec]).await;
    copy_anew(&path);
    let changed = client.plugins().rescan().await.expect("a folder");
    assert_eq!((changed.refused.len(), info(&client, "x").generation), (0, 2));
    fs::write(&broken, "").expect("broken");
    copy_anew(&path);
    fs::copy(Fixtures::get().guard(), &guard).expect("a copy");
    let changed = client.plugins().rescan().await.expect("a folder");
    assert!(matches!(changed.refused[..], [PluginError::NotRestored { .. }]), "{changed:?}");
    assert_eq!(
        (info(&client, "x").state, info(&client, "guard").state),
        (PluginState::Failed, PluginState::Active)
    );
    let made = world.of("new").len();
    assert_eq!(client.plugins().rescan().await.expect("a folder").refused.len(), 0);
    assert_eq!(world.of("new").len(), made, "the same file is not tried again");
    fs::remove_file(&broken).expect("repaired");
    client.plugins().change(vec![Change::Reload("x".into())]).await.expect("reloaded");
    assert_eq!(info(&client, "x").state, PluginState::Active);
}
