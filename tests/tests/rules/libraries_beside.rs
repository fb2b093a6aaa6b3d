//! Rule D2: libraries beside a plugin are copied with it, and each generation of a plugin has its own. A library elsewhere
//! whose name is taken is refused.
#![cfg(all(target_os = "linux", target_env = "gnu", target_pointer_width = "64"))]

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use llmux_core::{
    Client, PluginSpec,
    plugins::{Change, Check, LibraryError, PluginsConfig, VerifyOptions, verify},
};
use llmux_tests::{
    c_libraries::{answers, c_library, link, signed},
    scripted,
    world::{builder, built, chat},
};
use tempfile::TempDir;

fn folder() -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().to_owned();
    (folder, path)
}

/// Links a plugin that needs these libraries, and looks for them in these folders.
fn plugin(path: &Path, libraries: &[&Path], runpath: &str) -> PathBuf {
    let libraries: Vec<_> = libraries.iter().map(|library| library.to_string_lossy().into_owned()).collect();
    let runpath = format!("-Wl,-rpath,{runpath}");
    let mut arguments: Vec<&str> = libraries.iter().map(String::as_str).collect();
    arguments.extend([&*runpath, "-Wl,--allow-shlib-undefined"]);
    link(path, &arguments)
}

/// Returns the number that the only instance answers with.
async fn answer(client: &Client) -> String {
    header(client, "x-symbol").await
}

async fn header(client: &Client, name: &str) -> String {
    let reply = client.send(chat("m")).await;
    let header = reply.headers().iter().find(|(it, _)| it == name).expect("a header");
    header.1.to_str().expect("a text").to_owned()
}

async fn loaded(library: &Path) -> Client {
    built(builder(&scripted([])), [PluginSpec::path(library)]).await
}

async fn reload(client: &Client) -> Result<(), String> {
    let changed = client.plugins().change(vec![Change::Reload("guard".into())]).await;
    changed.map(drop).map_err(|error| error.to_string())
}

fn refused(library: &Path, options: &VerifyOptions) -> LibraryError {
    let refused = verify(library, options).map(|library| library.path).expect_err("refused");
    assert_eq!(refused.check(), Check::Needs, "{refused}");
    refused
}

#[tokio::test]
async fn d2_each_plugin_and_each_generation_has_its_own_library_beside_it() {
    let ((_one, one), (_two, two)) = (folder(), folder());
    let first = c_library(&one, "libllmuxown.so.1", &answers(1), &[]);
    let second = c_library(&two, "libllmuxown.so.1", &answers(2), &[]);
    let (one, two) = (
        loaded(&plugin(&one.join("p.so"), &[&first], "$ORIGIN")).await,
        loaded(&plugin(&two.join("p.so"), &[&second], "$ORIGIN")).await,
    );
    assert_eq!((answer(&one).await.as_str(), answer(&two).await.as_str()), ("1", "2"));
    let folder = first.parent().expect("a folder").to_string_lossy();
    assert_eq!(header(&one, "x-library-dir").await, folder, "the plugin finds files beside it");
    c_library(first.parent().expect("a folder"), "libllmuxown.so.1", &answers(3), &[]);
    assert_eq!(answer(&one).await, "1", "the copy is used");
    reload(&one).await.expect("reloaded");
    assert_eq!(answer(&one).await, "3", "a reload takes the new one");
}

#[tokio::test]
async fn d2_libraries_in_a_folder_below_the_plugins_may_need_each_other_with_versions() {
    let (_folder, folder) = folder();
    let versions = folder.join("versions");
    fs::write(&versions, "LLMUX_1 { global: llmux_inner; };").expect("written");
    let script = format!("-Wl,--version-script,{}", versions.display());
    let lib = folder.join("lib");
    let inner = "int llmux_inner(void) { return 40; }";
    let inner = c_library(&lib, "libllmuxinside.so.2", inner, &[&script]);
    let outer = "int llmux_inner(void); unsigned llmux_dep(void) { return 2 + llmux_inner(); }";
    let arguments = [&*inner.to_string_lossy(), "-Wl,-rpath,$ORIGIN"];
    let outer = c_library(&lib, "libllmuxoutside.so.2", outer, &arguments);
    let client = loaded(&plugin(&folder.join("p.so"), &[&outer], "$ORIGIN/lib")).await;
    assert_eq!(answer(&client).await, "42");
    reload(&client).await.expect("reloaded");
    assert_eq!(answer(&client).await, "42");
    fs::write(&versions, "LLMUX_0 { global: llmux_inner; };").expect("written");
    c_library(&lib, "libllmuxinside.so.2", "int llmux_inner(void) { return 40; }", &[&script]);
    let reason = reload(&client).await.expect_err("refused");
    assert!(
        reason.contains("needs `LLMUX_1` of `libllmuxinside.so.2` (for `libllmuxoutside.so.2`)"),
        "{reason}"
    );
}

#[tokio::test]
async fn d2_a_library_beside_the_plugin_passes_the_checks_of_the_plugin() {
    let (_folder, folder) = folder();
    let library = c_library(&folder, "libllmuxopen.so.1", &answers(1), &[]);
    let plugin = plugin(&folder.join("p.so"), &[&library], "$ORIGIN");
    let options = VerifyOptions::default();
    verify(&plugin, &options).expect("accepted");
    fs::set_permissions(&library, PermissionsExt::from_mode(0o666)).expect("set");
    let reason = refused(&plugin, &options).to_string();
    assert!(reason.contains("libllmuxopen.so.1, which the file is writable by everyone"), "{reason}");
    verify(&plugin, &options.clone().with_allow_insecure_permissions(true)).expect("accepted");
    fs::set_permissions(&library, PermissionsExt::from_mode(0o600)).expect("set");
    let size = fs::metadata(&plugin).expect("there").len();
    fs::File::options().append(true).open(&library).expect("open").set_len(size + 1).expect("longer");
    let reason = refused(&plugin, &options.with_max_size(size)).to_string();
    assert!(reason.contains("libllmuxopen.so.1, which is "), "{reason}");
}

#[tokio::test]
async fn d2_a_folder_that_leaves_the_plugins_folder_is_refused() {
    let (_folder, folder) = folder();
    let library = c_library(&folder.join("lib"), "libllmuxleft.so.1", &answers(1), &[]);
    fs::create_dir(folder.join("plugins")).expect("a folder");
    let plugin = plugin(&folder.join("plugins/p.so"), &[&library], "$ORIGIN/../lib");
    let reason = refused(&plugin, &VerifyOptions::default());
    assert!(matches!(&reason, LibraryError::LeavesOrigin { entry } if entry == "$ORIGIN/../lib"), "{reason}");
}

#[tokio::test]
async fn d2_a_name_that_is_a_part_of_another_is_refused_and_damages_nothing() {
    let (_folder, folder) = folder();
    let source = "unsigned llmux_other(void) { return 1; }";
    let long = c_library(&folder, "libllmuxtail.so", source, &[]);
    let short = c_library(&folder, "llmuxtail.so", &answers(1), &[]);
    let plugin = plugin(&folder.join("p.so"), &[&long, &short], "$ORIGIN");
    let client = built(builder(&scripted([])), []).await;
    let reason = client.plugins().load(PluginSpec::path(&plugin)).await.expect_err("refused").to_string();
    assert!(reason.contains("the name `libllmuxtail.so` shares its text"), "{reason}");
}

#[tokio::test]
async fn d2_a_plugin_with_libraries_beside_it_is_not_loaded_from_memory() {
    let (_folder, folder) = folder();
    let library = c_library(&folder, "libllmuxnear.so.1", &answers(7), &[]);
    let plugin = plugin(&folder.join("p.so"), &[&library], "$ORIGIN");
    let nowhere = folder.join("nowhere");
    let config = PluginsConfig::default().with_copy_dir(Some(nowhere.clone()));
    let client = built(builder(&scripted([])).plugins(config), []).await;
    let reason = client.plugins().load(PluginSpec::path(&plugin)).await.expect_err("refused").to_string();
    for part in
        [&*nowhere.to_string_lossy(), "link the libraries beside it statically", "`copy_dir`", "TMPDIR"]
    {
        assert!(reason.contains(part), "no {part}: {reason}");
    }
    fs::create_dir(&nowhere).expect("a folder");
    client.plugins().load(PluginSpec::path(&plugin)).await.expect("loaded");
    assert_eq!(answer(&client).await, "7");
}

#[tokio::test]
async fn d2_a_library_elsewhere_whose_name_is_taken_by_another_is_refused() {
    let ((_one, one), (_two, two)) = (folder(), folder());
    let first = c_library(&one, "libllmuxtaken.so.1", &answers(1), &[]);
    let second = c_library(&two, "libllmuxtaken.so.1", &answers(2), &[]);
    let first_plugin = plugin(&one.join("p.so"), &[&first], &one.to_string_lossy());
    let second_plugin = plugin(&two.join("p.so"), &[&second], &two.to_string_lossy());
    let client = loaded(&first_plugin).await;
    reload(&client).await.expect("the library is the mapped one");
    let taken = |refused: LibraryError| match refused {
        LibraryError::NameTaken { path, mapped, .. } => (path, mapped),
        other => panic!("{other}"),
    };
    assert_eq!(taken(refused(&second_plugin, &VerifyOptions::default())), (second.clone(), first.clone()));
    fs::copy(&first, &second).expect("copied");
    verify(&second_plugin, &VerifyOptions::default()).expect("the same bytes are the same library");
    fs::remove_file(&first).expect("removed");
    c_library(&one, "libllmuxtaken.so.1", &answers(3), &[]);
    let reason = reload(&client).await.expect_err("the system's loader would take the mapped one");
    assert!(reason.contains("the two cannot live in one process"), "{reason}");
    assert_eq!(answer(&client).await, "1", "the running instance is as before");
}

#[tokio::test]
async fn d2_with_require_signature_only_signed_and_system_libraries_are_needed() {
    let (_folder, folder) = folder();
    let library = c_library(&folder, "libllmuxsigned.so.1", &answers(1), &[]);
    let elsewhere = plugin(&folder.join("elsewhere.so"), &[&library], &folder.to_string_lossy());
    let beside = plugin(&folder.join("beside.so"), &[&library], "$ORIGIN");
    let options = signed(&folder, &[&elsewhere, &beside]);
    let reason = refused(&elsewhere, &options).to_string();
    assert!(reason.contains("in its RPATH or RUNPATH") && reason.contains("`require_signature`"), "{reason}");
    let reason = refused(&beside, &options).to_string();
    assert!(reason.contains("libllmuxsigned.so.1, which its signature: there is none"), "{reason}");
}
