//! Rules D1 and D2: the data that the host reads from a library's file, and every way in which a library is refused.
//! A refusal does not change the running pipeline (D3).

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Command,
};

use llmux_core::{
    Client, PluginSpec,
    plugins::{LibraryError, PluginError, PluginState, PluginsConfig},
};
use llmux_tests::{
    Capture, Fixtures, Kind, World, scripted,
    world::{builder, built, chat, header, said},
};
use serde_json::json;

/// Writes a file with these bytes into the world's folder.
fn file(world: &World, name: &str, bytes: &[u8]) -> PathBuf {
    let path = world.path(name);
    fs::write(&path, bytes).expect("a file");
    path
}

/// Returns a copy of the guard, with a part of its bytes replaced by another of the same length.
fn patched(world: &World, name: &str, part: &[u8], by: &[u8]) -> PathBuf {
    assert_eq!(part.len(), by.len(), "a patch moves nothing");
    let mut bytes = fs::read(Fixtures::get().guard()).expect("the guard");
    let found: Vec<usize> = bytes
        .windows(part.len())
        .enumerate()
        .filter(|(_, window)| *window == part)
        .map(|(at, _)| at)
        .collect();
    assert!(!found.is_empty(), "the guard holds {:?}", String::from_utf8_lossy(part));
    for at in found {
        bytes[at..at + by.len()].copy_from_slice(by);
    }
    file(world, name, &bytes)
}

/// Loads a library that must be refused, between two requests that must succeed. Returns the error, which names the
/// file.
async fn refused(world: &World, spec: PluginSpec, path: &Path) -> LibraryError {
    let provider = scripted([]);
    let client = built(builder(&provider), [world.probe("a", 1, json!({}))]).await;
    let before = said(&client.send(chat("m")).await);
    let refused = client.plugins().load(spec).await.expect_err("refused");
    let message = refused.to_string();
    assert!(message.contains(path.to_str().expect("UTF-8")), "the error names no file: {message}");
    assert!(message.len() < 800, "the error is a sentence, not {} bytes: {message}", message.len());
    assert_eq!(said(&client.send(chat("m")).await), before, "the request after it");
    assert_eq!(client.plugins().list().len(), 1, "the pipeline after it");
    match refused {
        PluginError::Library { path: named, error } if named == path => error,
        other => panic!("{other:?}"),
    }
}

async fn refused_path(world: &World, path: &Path) -> LibraryError {
    refused(world, PluginSpec::path(path), path).await
}

fn world() -> World {
    World::new(Kind::Loaded)
}

macro_rules! refuses {
    ($($name:ident: |$world:ident| $path:expr => $error:pat $(if $guard:expr)?,)*) => {$(
        #[tokio::test]
        async fn $name() {
            let $world = world();
            let path = $path;
            let error = refused_path(&$world, &path).await;
            assert!(matches!(&error, $error $(if $guard)?), "{error:?}");
        }
    )*};
}

refuses! {
    d2_a_missing_file_is_refused: |world| world.path("none.so") => LibraryError::Read(_),
    d2_a_folder_is_refused: |world| {
        let path = world.path("folder.so");
        fs::create_dir(&path).expect("a folder");
        path
    } => LibraryError::NotAFile,
    d2_a_pipe_is_refused_and_not_waited_for: |world| {
        let path = world.path("pipe.so");
        assert!(Command::new("mkfifo").arg(&path).status().expect("mkfifo").success());
        path
    } => LibraryError::NotAFile,
    d2_a_file_that_everybody_may_write_is_refused: |world| {
        let path = file(&world, "open.so", &fs::read(Fixtures::get().guard()).expect("the guard"));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o666)).expect("permissions");
        path
    } => LibraryError::Permissions(why) if why.contains("the file"),
    d2_a_file_in_a_folder_that_everybody_may_write_is_refused: |world| {
        let folder = world.path("open");
        fs::create_dir(&folder).expect("a folder");
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o777)).expect("permissions");
        let path = folder.join("guard.so");
        fs::copy(Fixtures::get().guard(), &path).expect("a copy");
        path
    } => LibraryError::Permissions(why) if why.contains("its folder"),
    d2_a_text_is_refused: |world| file(&world, "text.so", b"hello, I am no library") => LibraryError::Format(_),
    d2_an_empty_file_is_refused: |world| file(&world, "empty.so", b"") => LibraryError::Format(_),
    d2_a_truncated_library_is_refused: |world| {
        let bytes = fs::read(Fixtures::get().guard()).expect("the guard");
        file(&world, "cut.so", &bytes[..bytes.len() / 2])
    } => LibraryError::Format(_) | LibraryError::NoManifest | LibraryError::Manifest(_),
    d2_another_architecture_is_refused: |world| {
        let mut bytes = fs::read(Fixtures::get().guard()).expect("the guard");
        // e_machine: EM_AARCH64, or EM_X86_64 where that is the host's.
        let other: u16 = if cfg!(target_arch = "aarch64") { 62 } else { 183 };
        bytes[18..20].copy_from_slice(&other.to_le_bytes());
        file(&world, "arm.so", &bytes)
    } => LibraryError::WrongMachine { found, .. } if found.contains("Elf"),
    d2_another_format_is_refused: |world| {
        // The header of an empty Mach-O library for x86-64.
        let words: [u32; 8] = [0xfeed_facf, 0x0100_0007, 3, 6, 0, 0, 0, 0];
        file(&world, "mac.so", &words.map(u32::to_le_bytes).concat())
    } => LibraryError::WrongMachine { found, .. } if found.contains("MachO"),
    d2_a_library_that_is_no_plugin_is_refused: |world| {
        let _ = &world;
        Fixtures::get().library("llmux-no-plugin")
    } => LibraryError::NoManifest,
    d2_two_manifests_are_refused: |world| {
        let _ = &world;
        Fixtures::get().library("llmux-twice")
    } => LibraryError::TwoManifests,
    d2_a_damaged_manifest_is_refused: |world| {
        patched(&world, "damaged.so", b"\"panic\":\"unwind\"", b"\"panic\":\"unwound")
    } => LibraryError::Manifest(_),
    d2_a_manifest_with_a_wrong_member_is_refused_and_the_member_named: |world| {
        patched(&world, "member.so", b"\"panic\":\"unwind\"", b"\"panic\":\"faints\"")
    } => LibraryError::Manifest(why) if why.contains("`panic`"),
    d2_a_manifest_of_another_target_is_refused: |world| {
        let ours = llmux_abi::raw::version::TARGET;
        let other = ours.replace("linux", "plan9");
        patched(&world, "plan9.so", format!("\"target\":\"{ours}\"").as_bytes(), format!("\"target\":\"{other}\"").as_bytes())
    } => LibraryError::WrongMachine { found, .. } if found.contains("plan9"),
    d2_a_library_that_aborts_when_it_panics_is_refused: |world| {
        let _ = &world;
        Fixtures::get().library("llmux-aborting")
    } => LibraryError::PanicAborts,
    d2_another_abi_is_refused_and_both_versions_named: |world| {
        patched(&world, "abi.so", b"\"abi\":\"0.2.2\",\"abi_min\":\"0.2.", b"\"abi\":\"0.9.0\",\"abi_min\":\"0.9.")
    } => LibraryError::AbiMismatch { host, plugin } if (host.minor, plugin.minor) == (2, 9),
    d2_a_newer_contract_is_refused_by_its_version: |world| {
        let _ = &world;
        Fixtures::get().library("llmux-newer")
    } => LibraryError::AbiMismatch { host, plugin } if host.to_string() == "0.2.2" && plugin.to_string() == "0.3.0",
    d2_a_newer_plugin_is_refused_if_it_writes_a_hook_that_this_host_never_calls: |world| {
        let _ = &world;
        Fixtures::get().library("llmux-later-hook")
    } => LibraryError::AbiMismatch { host, plugin } if host.to_string() == "0.2.2" && plugin.to_string() == "0.2.3",
    d2_a_manifest_that_needs_more_than_it_is_built_with_is_refused: |world| {
        patched(&world, "least.so", b"\"abi_min\":\"0.2.0\"", b"\"abi_min\":\"0.2.7\"")
    } => LibraryError::Manifest(why) if why.contains("`abi_min`"),
    d2_a_service_that_the_host_does_not_offer_is_named: |world| {
        patched(&world, "needs.so", b",\"pre_stream_hook\"],\"needs\":[]", b"],\"needs\":[\"faster_than_time\"]")
    } => LibraryError::Needs { service } if service == "faster_than_time",
    d2_a_missing_entry_is_refused: |world| {
        patched(&world, "entry.so", b"\"entry\":\"llmux_plugin_llmux_guard\"", b"\"entry\":\"llmux_plugin_llmux_gnome\"")
    } => LibraryError::NoEntry { entry, .. } if entry == "llmux_plugin_llmux_gnome",
    d2_another_layout_is_refused: |world| {
        let _ = &world;
        Fixtures::get().library("llmux-changed")
    } => LibraryError::Layout(_),
}

#[tokio::test]
async fn d2_a_checksum_that_does_not_fit_is_refused_before_the_format_is_looked_at() {
    let world = world();
    let path = file(&world, "text.so", b"no library at all");
    let error = refused(&world, PluginSpec::path(&path).with_sha256("00".repeat(32)), &path).await;
    assert!(matches!(error, LibraryError::Checksum { .. }), "{error:?}");
}

#[tokio::test]
async fn d2_a_checksum_that_fits_is_loaded() {
    let world = world();
    let client = built(builder(&scripted([])), []).await;
    let loaded = client.plugins().load(PluginSpec::path(Fixtures::get().guard())).await.expect("loaded");
    let sha256 = loaded.sha256.expect("a library");
    let spec =
        PluginSpec::path(Fixtures::get().guard()).with_name("again").with_sha256(sha256.to_uppercase());
    client.plugins().load(spec).await.expect("loaded");
    drop(world);
}

#[tokio::test]
async fn d2_a_file_over_the_limit_is_refused() {
    let world = world();
    let path = file(&world, "big.so", &[0; 100]);
    let options = llmux_core::plugins::VerifyOptions::default().with_max_size(99);
    let refused = llmux_core::plugins::verify(&path, &options).expect_err("refused");
    assert!(matches!(refused, LibraryError::TooLarge { size: 100, max: 99 }), "{refused:?}");
    let guard = Fixtures::get().guard();
    let size = fs::metadata(&guard).expect("a library").len();
    let config = PluginsConfig::default().with_max_library_bytes(size - 1);
    let client = built(builder(&scripted([])).plugins(config), []).await;
    let refused = client.plugins().load(PluginSpec::path(&guard)).await.expect_err("refused").to_string();
    assert!(refused.contains("`max_library_bytes`"), "the setting is named: {refused}");
}

#[tokio::test]
async fn d2_a_configuration_that_does_not_fit_the_schema_is_refused_before_construction() {
    let world = world();
    let client = built(builder(&scripted([])), []).await;
    let wrong = PluginSpec::path(Fixtures::get().probe())
        .with_name("a")
        .with_config(world.scripts(json!({"pre": 7})));
    match client.plugins().load(wrong).await {
        Err(PluginError::Config { name, plugin, message }) => {
            assert_eq!((name.as_str(), plugin.as_str()), ("a", "probe"));
            assert!(message.contains("`/pre`"), "the message names the member: {message}");
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(world.lines(), Vec::<String>::new(), "nothing of the plugin has run");
}

#[tokio::test]
async fn d2_the_private_copy_is_not_left_behind_and_the_image_serves_without_it() {
    let world = world();
    let provider = scripted([]);
    let path = world.path("guard.so");
    fs::copy(Fixtures::get().guard(), &path).expect("a copy");
    let client = built(builder(&provider), [PluginSpec::path(&path)]).await;
    fs::remove_file(&path).expect("removed");
    assert_eq!(header(client.send(chat("m")).await.headers(), "x-guarded"), Some("m"));
}

#[tokio::test]
async fn d2_an_older_contract_with_fewer_fields_loads_and_works() {
    loads_and_works("llmux-older").await;
}

#[tokio::test]
async fn d2_a_newer_contract_whose_additions_are_not_used_loads_and_works() {
    loads_and_works("llmux-later").await;
}

async fn loads_and_works(library: &str) {
    let provider = scripted([]);
    let guard = PluginSpec::path(Fixtures::get().library(library)).with_config(json!({"deny": "n"}));
    let client = built(builder(&provider), [guard]).await;
    let reply = client.send(chat("m")).await;
    assert_eq!((said(&reply).as_str(), header(reply.headers(), "x-guarded")), ("again", Some("m")));
    assert_eq!(said(&client.send(chat("n")).await), "!403 permission_error: not this model");
    let mut stream = client.stream(chat("m")).await.result.expect("a stream");
    assert!(stream.next().await.is_some(), "a stream, too");
    drop(stream);
    let report = client.shutdown(std::time::Duration::from_secs(10)).await;
    assert!(report.drained && report.errors.is_empty(), "without on_complete and cleanup: {report:?}");
}

/// Returns the names of the instances. The list of plugins also shows the libraries that were refused.
fn instances(client: &Client) -> Vec<String> {
    let list = client.plugins().list().into_iter().filter(|info| info.state != PluginState::Failed);
    list.map(|info| info.name).collect()
}

fn in_folder(folder: &Path) -> PluginsConfig {
    PluginsConfig::default().with_dirs(vec![folder.to_owned()])
}

/// Returns the settings of a plugin folder with autoload: each library that no instance uses gets an instance.
fn autoloaded(folder: &Path) -> PluginsConfig {
    in_folder(folder).with_autoload(true)
}

/// Creates a folder with these libraries.
fn folder(world: &World, files: &[(&str, PathBuf)]) -> PathBuf {
    let folder = world.path("plugins");
    fs::create_dir(&folder).expect("a folder");
    for (name, from) in files {
        fs::copy(from, folder.join(name)).expect("a copy");
    }
    folder
}

#[tokio::test]
async fn d1_discovery_lists_every_library_and_a_bad_one_hinders_nothing() {
    let world = world();
    let folder = folder(
        &world,
        &[("b.so", Fixtures::get().guard()), ("c.so", Fixtures::get().library("llmux-newer"))],
    );
    fs::write(folder.join("a.so"), "no library").expect("a file");
    fs::write(folder.join("readme.txt"), "no library").expect("a file");
    let client = built(builder(&scripted([])).plugins(in_folder(&folder)), []).await;
    let found = client.plugins().discover().await.expect("a folder");
    let found: Vec<_> = found
        .into_iter()
        .map(|one| {
            let name = one.manifest.map(|manifest| manifest.name);
            (llmux_tests::world::name_of(&one.path), name, one.refused.is_some())
        })
        .collect();
    let expected = [("a.so", None, true), ("b.so", Some("guard"), false), ("c.so", Some("guard"), true)];
    let expected = expected.map(|(file, name, refused)| (file.to_owned(), name.map(str::to_owned), refused));
    assert_eq!(found, expected);
}

#[tokio::test]
async fn d8_autoload_makes_one_instance_of_each_library_that_none_uses() {
    let world = world();
    let folder =
        folder(&world, &[("guard.so", Fixtures::get().guard()), ("probe.so", Fixtures::get().probe())]);
    fs::write(folder.join("bad.so"), "no library").expect("a file");
    let configured = PluginSpec::path(folder.join("guard.so")).with_name("mine");
    let client = built(builder(&scripted([])).plugins(autoloaded(&folder)), [configured]).await;
    let refused = client.plugins().list().into_iter().filter(|it| it.state == PluginState::Failed).count();
    assert_eq!((refused, client.plugins().refused()), (1, 1), "the bad one");
    assert_eq!(
        instances(&client),
        ["mine", "probe"],
        "the one that a configured instance uses is left alone"
    );
}

#[tokio::test]
async fn d8_two_libraries_of_one_name_are_an_error_that_names_both() {
    let world = world();
    let folder = folder(&world, &[("one.so", Fixtures::get().guard()), ("two.so", Fixtures::get().guard())]);
    let client = built(builder(&scripted([])).plugins(autoloaded(&folder)), []).await;
    let refused = client.plugins().load(PluginSpec::plugin("guard")).await.expect_err("refused");
    let message = refused.to_string();
    assert!(matches!(refused, PluginError::AmbiguousPlugin { .. }), "{refused:?}");
    assert!(message.contains("one.so") && message.contains("two.so"), "{message}");
    assert_eq!(client.plugins().refused(), 3, "both files, and the load by name");
    assert!(instances(&client).is_empty());
}

#[tokio::test]
async fn d8_a_folder_that_is_named_twice_is_one() {
    let world = world();
    let folder = folder(&world, &[("guard.so", Fixtures::get().guard())]);
    let link = world.path("link");
    std::os::unix::fs::symlink(&folder, &link).expect("linked");
    let dirs = vec![folder.clone(), folder.join("."), folder.join("../plugins"), link];
    let config = PluginsConfig::default().with_dirs(dirs).with_autoload(true);
    let client = built(builder(&scripted([])).plugins(config), []).await;
    assert_eq!(client.plugins().refused(), 0);
    assert_eq!(instances(&client), ["guard"]);
    assert_eq!(
        client.plugins().list()[0].library.as_deref(),
        Some(&*folder.join("guard.so")),
        "the first name"
    );
}

#[tokio::test]
async fn d8_a_library_wins_over_a_compiled_in_plugin_of_its_name() {
    let world = world();
    let folder = folder(&world, &[("guard.so", Fixtures::get().guard())]);
    let with = |dirs: PluginsConfig| Client::builder().compiled::<llmux_guard::Guard>().plugins(dirs);
    let spec = || PluginSpec::plugin("guard");
    let client = built(with(in_folder(&folder)), [spec()]).await;
    assert!(client.plugins().list()[0].library.is_some(), "the library");
    let client = built(with(PluginsConfig::default()), [spec()]).await;
    assert!(client.plugins().list()[0].library.is_none(), "the compiled-in one, where there is no library");
    let unknown = client.plugins().load(PluginSpec::plugin("nobody")).await;
    assert!(matches!(unknown, Err(PluginError::UnknownPlugin { .. })), "{unknown:?}");
    let unsigned = || in_folder(&folder).with_require_signature(true);
    let client = built(with(unsigned()), [spec()]).await;
    assert!(
        client.plugins().list()[0].library.is_none(),
        "the compiled-in one, where the library is refused"
    );
    let client = built(Client::builder().plugins(unsigned()), []).await;
    let refused = client.plugins().load(spec()).await.expect_err("refused").to_string();
    assert!(
        refused.contains("guard.so") && refused.contains("signature"),
        "why it is, and not that there is none: {refused}"
    );
}

#[tokio::test]
async fn d2_a_library_of_an_sdk_that_may_end_the_process_is_loaded_with_a_warning() {
    let world = world();
    let sdk = |version: &str| format!("\"sdk\":\"{version}\"").into_bytes();
    let path = patched(&world, "old.so", &sdk("0.2.0-dev"), &sdk("0.1.9-dev"));
    let client = built(builder(&scripted([])), []).await;
    let logs = Capture::llmux();
    let warnings = || logs.with(&["build it with llmux-abi 0.2 or newer"]);
    client.plugins().load(PluginSpec::path(Fixtures::get().guard()).with_name("new")).await.expect("loaded");
    assert_eq!(warnings(), [""; 0]);
    client.plugins().load(PluginSpec::path(&path)).await.expect("loaded");
    let [warning] = &warnings()[..] else { panic!("{:?}", logs.lines()) };
    assert!(warning.starts_with("WARN ") && warning.ends_with(" plugin=guard sdk=0.1.9-dev"), "{warning}");
}
