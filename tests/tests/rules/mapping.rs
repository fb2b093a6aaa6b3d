//! Rules D2 and D5 in the system's loader: the image that it makes of a file, the symbols that other images see, and
//! the lifetime of the image. `docs/hazards.md` describes the effects on hosts that do otherwise.

use std::{fs, thread};

use llmux_core::{
    PluginSpec,
    plugins::{Change, LibraryError, PluginError, Unloaded},
};
use llmux_tests::{
    Fixtures, Kind, World, scripted,
    world::{builder, built, chat, header, said},
};
use serde_json::json;

#[tokio::test]
async fn d2_hard_links_to_one_library_are_two_images() {
    let world = World::new(Kind::Loaded);
    let (log, paths) = (world.path("log"), ["one.so", "two.so"].map(|name| world.path(name)));
    Fixtures::get().initializer(&paths[0], &log);
    fs::hard_link(&paths[0], &paths[1]).expect("linked");
    let specs = paths.iter().zip(["one", "two"]).map(|(path, name)| PluginSpec::path(path).with_name(name));
    let _client = built(builder(&scripted([])), specs).await;
    assert_eq!(
        fs::read_to_string(&log).expect("it ran"),
        "ran\nran\n",
        "each image has its own initialization"
    );
}

/// Returns the number of mappings of private copies of these bytes in this process.
fn mapped(sha256: &str) -> usize {
    fs::read_to_string("/proc/self/maps").expect("this process's maps").matches(&sha256[..16]).count()
}

#[test]
fn d5_an_image_stays_for_the_threads_that_ran_it_and_end_after_its_unload() {
    let world = World::new(Kind::Loaded);
    let life = async || {
        let spec = world.probe("a", 1, json!({"pre": [{"do": "name_thread"}]}));
        let client = world.client(&scripted([]), [spec]).await;
        let sha256 = client.plugins().list()[0].sha256.clone().expect("a library");
        assert_eq!(said(&client.send(chat("m")).await), "again");
        let before = mapped(&sha256);
        assert_ne!(before, 0, "the image of the plugin that serves");
        assert_eq!(client.plugins().unload("a").await.expect("unloaded"), Unloaded::Gone);
        assert_eq!(mapped(&sha256), before, "the image of the plugin that is unloaded");
    };
    let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    thread::scope(|scope| {
        // Its end runs a destructor that lies in the library; unmapped, that would end this process.
        scope.spawn(|| runtime().block_on(life())).join().expect("the thread ends");
    });
}

#[tokio::test]
async fn d2_libraries_with_symbols_of_one_name_each_call_their_own() {
    let specs = ["1", "2"]
        .map(|name| PluginSpec::path(Fixtures::get().library(&format!("llmux-twin-{name}"))).with_name(name));
    let client = built(builder(&scripted([])), specs).await;
    for name in ["2", "1"] {
        let reply = client.send(chat("m")).await;
        assert_eq!(header(reply.headers(), "x-symbol"), Some(name), "the last that sets the header");
        client.plugins().change(vec![Change::Disable(name.to_owned())]).await.expect("disabled");
    }
}

#[tokio::test]
async fn d2_a_library_that_lacks_a_symbol_is_refused_when_it_is_loaded() {
    let client = built(builder(&scripted([])), []).await;
    let path = Fixtures::get().library("llmux-lacking");
    match client.plugins().load(PluginSpec::path(&path)).await {
        Err(PluginError::Library { error: LibraryError::Dlopen(why), .. }) => {
            assert!(why.contains("llmux_nowhere"), "the symbol is named: {why}");
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn d1_a_manifest_survives_fat_lto_and_strip() {
    let provider = scripted([]);
    let client = built(builder(&provider), [PluginSpec::path(Fixtures::get().whole())]).await;
    assert_eq!(header(client.send(chat("m")).await.headers(), "x-guarded"), Some("m"));
}
