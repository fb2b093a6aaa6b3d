//! Rules D2, D3 and D5: the images that no instance uses any more. Every image that stays mapped is counted, whatever
//! the reason of its refusal. At `max_retired_images`, the host loads nothing more for any caller.

use std::{
    fs,
    path::{Path, PathBuf},
};

use llmux_core::{
    Client, PluginSpec,
    plugins::{Change, LibraryError, PluginError, PluginsConfig, RetiredImages},
};
use llmux_tests::{
    Capture, Fixtures, Kind, World, scripted,
    world::{builder, built, chat, said},
};
use serde_json::{Value, json};

/// Returns a client with this limit of retired images.
async fn client(max: u64, dirs: Vec<PathBuf>) -> Client {
    let plugins = PluginsConfig::default().with_max_retired_images(max).with_dirs(dirs).with_autoload(true);
    built(builder(&scripted([])).plugins(plugins), []).await
}

fn size(path: &Path) -> u64 {
    fs::metadata(path).expect("a library").len()
}

fn fails() -> Value {
    json!({"new": [{"do": "fail", "message": "not today"}]})
}

fn error(client: &Client) -> String {
    client.plugins().list()[0].error.clone().unwrap_or_default()
}

/// Rewrites a library so that its bytes differ, with unchanged code.
fn write_anew(path: &Path) {
    let mut bytes = fs::read(path).expect("a library");
    bytes.push(b'\n');
    fs::write(path, bytes).expect("written");
}

#[tokio::test]
async fn d5_every_image_that_stays_mapped_is_counted_whatever_it_was_refused_for() {
    let world = World::new(Kind::Loaded);
    let client = client(100, Vec::new()).await;
    let mut expected = RetiredImages::default();
    let mut refused = async |what: &str, spec: PluginSpec, left: u64| {
        client.plugins().load(spec).await.expect_err(what);
        expected.count += u64::from(left > 0);
        expected.bytes += left;
        assert_eq!(client.plugins().retired(), expected, "{what}");
    };
    let (guard, changed) = (Fixtures::get().guard(), Fixtures::get().library("llmux-changed"));
    let garbage = world.path("garbage.so");
    fs::write(&garbage, "garbage").expect("written");
    refused("what is no library is not mapped", PluginSpec::path(garbage), 0).await;
    refused("another layout", PluginSpec::path(&changed), size(&changed)).await;
    let no_entry = world.path("entry.so");
    let bytes = fs::read(&guard).expect("the guard");
    let (part, by) = (b"\"entry\":\"llmux_plugin_llmux_guard", b"\"entry\":\"llmux_plugin_llmux_gnome");
    let at = bytes.windows(part.len()).position(|window| window == part).expect("its manifest");
    fs::write(&no_entry, [&bytes[..at], by, &bytes[at + by.len()..]].concat()).expect("written");
    refused("a missing entry is found before", PluginSpec::path(&no_entry), 0).await;
    let guard_size = size(&guard);
    refused("its configuration", PluginSpec::path(guard).with_config(json!({"deny": 7})), guard_size).await;
    let probe_size = size(&Fixtures::get().probe());
    refused("its construction", world.probe("a", 1, fails()), probe_size).await;
}

#[tokio::test]
async fn d2_at_the_limit_that_failed_constructions_reached_nothing_more_is_loaded() {
    let world = World::new(Kind::Loaded);
    let client = client(2, Vec::new()).await;
    client.plugins().load(world.guard(json!({}))).await.expect("loaded");
    for attempt in 0..4 {
        let refused = client.plugins().load(world.probe("a", 1, fails())).await.expect_err("refused");
        let is_full = matches!(refused, PluginError::TooManyRetired { max: 2 });
        assert_eq!(is_full, attempt >= 2, "attempt {attempt}: {refused}");
    }
    assert_eq!(
        (world.count("a.new"), client.plugins().retired().count),
        (2, 2),
        "what is refused does not run"
    );
    let again = client.plugins().load(world.guard(json!({})).with_name("again")).await;
    again.expect("the image that runs takes one more instance");
    assert_eq!(said(&client.send(chat("m")).await), "again");
}

#[tokio::test]
async fn d4_at_the_limit_a_reload_is_refused_with_the_advice_and_the_old_generation_serves() {
    let world = World::new(Kind::Loaded);
    let client = client(1, Vec::new()).await;
    client.plugins().load(world.probe("a", 1, json!({}))).await.expect("loaded");
    let reload = || client.plugins().change(vec![Change::Reload("a".into())]);
    reload().await.expect("below the limit");
    world.wait_for("a.drop", 1).await;
    let refused = reload().await.expect_err("at the limit").to_string();
    assert!(refused.contains("`max_retired_images`") && refused.contains("restart the host"), "{refused}");
    assert_eq!(error(&client), refused, "the list says so");
    assert_eq!((client.plugins().list()[0].generation, client.plugins().refused()), (2, 1));
    assert!(client.render_metrics().contains("llmux_plugin_refusals_total 1\n"), "the metric says so");
    assert_eq!(said(&client.send(chat("m")).await), "again");
    assert_eq!(world.count("a.pre"), 1, "the old generation serves");
}

#[tokio::test]
async fn d4_at_the_limit_a_changed_file_is_told_once_and_again_when_it_changes_again() {
    let world = World::new(Kind::Loaded);
    let folder = world.path("plugins");
    fs::create_dir(&folder).expect("made");
    let path = folder.join("guard.so");
    fs::copy(Fixtures::get().guard(), &path).expect("copied");
    let client = client(1, vec![folder]).await;
    let told = async || {
        let changed = client.plugins().rescan().await.expect("a folder");
        changed.plugins.len() + changed.refused.len()
    };
    assert_eq!(client.plugins().list().len(), 1, "it comes in");
    write_anew(&path);
    assert_eq!((told().await, client.plugins().refused()), (1, 0), "below the limit it is reloaded");
    while client.plugins().retired().count == 0 {
        tokio::task::yield_now().await;
    }
    for changes in 1..3 {
        write_anew(&path);
        assert_eq!((told().await, told().await, client.plugins().refused()), (1, 0, changes));
        assert!(error(&client).contains("`max_retired_images`"), "{}", error(&client));
        assert_eq!(client.plugins().list()[0].generation, 2);
    }
}

#[tokio::test]
async fn d4_what_changes_of_an_instance_says_nothing_about_the_file_that_was_refused() {
    let world = World::new(Kind::Loaded);
    let path = world.path("guard.so");
    fs::copy(Fixtures::get().guard(), &path).expect("copied");
    let client = client(9, Vec::new()).await;
    client.plugins().load(PluginSpec::path(&path).with_name("a")).await.expect("loaded");
    fs::write(&path, "garbage").expect("written");
    client.plugins().change(vec![Change::Reload("a".into())]).await.expect_err("refused");
    let refused = error(&client);
    assert!(refused.contains("is not a shared library"), "{refused}");
    for change in [
        Change::Disable("a".into()),
        Change::Enable("a".into()),
        Change::Load(PluginSpec::path(&path).with_name("b")),
    ] {
        client.plugins().change(vec![change]).await.expect("changed");
        assert_eq!(error(&client), refused, "the file is what it was");
    }
    fs::copy(Fixtures::get().guard(), &path).expect("copied");
    client.plugins().change(vec![Change::Reload("a".into())]).await.expect("reloaded");
    assert_eq!(error(&client), "", "it is whole again");
}

/// Two instances of one library: one of them cannot be made from the new library.
#[tokio::test(start_paused = true)]
async fn d4_when_one_instance_refuses_the_new_version_none_swaps() {
    let world = World::new(Kind::Loaded);
    let logs = Capture::llmux();
    let refuses = world.text_path("refuses");
    let counts = json!({"counter": "seen_total", "pre": [{"do": "count", "label": "x"}]});
    let picky = json!({"new": [{"do": "refuse_if", "path": refuses}]});
    let client = client(9, Vec::new()).await;
    for spec in [world.probe("a", 1, counts), world.probe("b", 2, picky)] {
        client.plugins().load(spec).await.expect("loaded");
    }
    client.send(chat("m")).await;
    fs::write(&refuses, "").expect("written");
    // Asked of the one that would not refuse.
    match client.plugins().change(vec![Change::Reload("a".into())]).await {
        Err(PluginError::Construction { name, message, .. }) => {
            assert_eq!((name.as_str(), message.as_str()), ("b", format!("there is {refuses}").as_str()));
        }
        other => panic!("{other:?}"),
    }
    world.wait_for("a.drop", 1).await;
    client.send(chat("m")).await;
    assert_eq!((world.count("a.new"), world.count("a.cleanup")), (2, 1), "its new instance came and went");
    assert_eq!((world.count("a.pre"), world.count("b.pre")), (2, 2), "the old ones serve");
    assert_eq!(client.plugins().list().iter().map(|it| it.generation).collect::<Vec<_>>(), [1, 1]);
    let metrics = client.render_metrics();
    assert!(metrics.contains("seen_total{label=\"x\",plugin=\"a\"} 2"), "its metrics stay: {metrics}");
    assert_eq!(client.plugins().retired().count, 1, "the new image");
    let lines = logs.with(&["llmux::audit", "what=reload", "instance=a", "could not be made", "new_sha256="]);
    assert_eq!(lines.len(), 1, "{:#?}", logs.lines());
}

/// An initializer that never returns holds the lock of the system's loader. Every later load reports that at once.
#[tokio::test(start_paused = true)]
async fn e4_behind_an_initializer_that_never_returns_every_load_says_what_it_waits_for() {
    let world = World::new(Kind::Loaded);
    let (library, log, hold) = (world.path("libinitializer.so"), world.path("log"), world.path("log.hold"));
    Fixtures::get().initializer(&library, &log);
    fs::write(&hold, "").expect("written");
    let client = client(9, Vec::new()).await;
    client.plugins().load(world.guard(json!({}))).await.expect("loaded");
    // A thread's first values of its own wait for the loader, too: this one has them.
    assert_eq!(said(&client.send(chat("m")).await), "again");
    let (plugins, spec) = (client.plugins().clone(), PluginSpec::path(&library));
    let loading = tokio::spawn(async move { plugins.load(spec).await });
    while !log.exists() {
        tokio::task::yield_now().await;
    }
    tokio::time::advance(std::time::Duration::from_secs(11)).await;
    let first = loading.await.expect("no panic").expect_err("it never returns");
    let others = [
        client.plugins().load(world.probe("a", 1, json!({}))).await,
        client.plugins().change(vec![Change::Reload("guard".into())]).await.map(|mut all| all.remove(0)),
        client.plugins().load(PluginSpec::path(&library)).await,
    ];
    let looked = client.plugins().rescan().await;
    client
        .plugins()
        .change(vec![Change::Disable("guard".into()), Change::Enable("guard".into())])
        .await
        .expect("no code");
    let answer = said(&client.send(chat("m")).await);
    let retired = client.plugins().retired().count;
    fs::remove_file(&hold).expect("let go");
    assert!(matches!(&first, PluginError::Library { error: LibraryError::Dlopen(_), .. }), "{first}");
    for refused in others {
        match refused {
            Err(PluginError::LoaderBusy { by }) => assert_eq!(by, library),
            other => panic!("{other:?}"),
        }
    }
    assert!(matches!(looked, Err(PluginError::LoaderBusy { .. })), "{looked:?}");
    assert_eq!((answer.as_str(), retired), ("again", 0), "requests go on");
    // Once it returns, the loader is everybody's again, and the image that nobody waited for is counted.
    while client.plugins().retired().count == 0 {
        tokio::task::yield_now().await;
    }
    client.plugins().load(world.probe("a", 1, json!({}))).await.expect("loaded");
}
