//! Rule D2: the needs of a library are read from its bytes, and compared with this machine before any code of it runs.
#![cfg(all(target_os = "linux", target_env = "gnu", target_pointer_width = "64"))]

use std::{fs, path::Path};

use llmux_core::{
    PluginSpec,
    plugins::{Check, VerifyOptions, inspect, verify},
};
use llmux_tests::{
    Fixtures,
    c_libraries::{answers, c_library, link},
    scripted,
    world::{builder, built, chat},
};

/// Returns the reason for which this host does not load a library, and compares it with the reason that a load gives.
async fn refused(library: &Path) -> String {
    let refused = verify(library, &VerifyOptions::default()).expect_err("refused");
    assert_eq!(refused.check(), Check::Needs, "{refused}");
    assert!(inspect(library, &VerifyOptions::default()).needs.is_some(), "its needs are shown");
    let client = built(builder(&scripted([])), []).await;
    let load = client.plugins().load(PluginSpec::path(library)).await.expect_err("refused").to_string();
    assert!(load.ends_with(&refused.to_string()), "a load says the same: {load}");
    assert_eq!(client.plugins().retired().count, 0, "nothing was mapped");
    refused.to_string()
}

/// Returns the number that the plugin's library gets from the library that it needs.
async fn answer(library: &Path) -> String {
    let client = built(builder(&scripted([])), [PluginSpec::path(library)]).await;
    let reply = client.send(chat("m")).await;
    let number = reply.headers().iter().find(|(name, _)| name == "x-symbol").expect("a number");
    number.1.to_str().expect("a text").to_owned()
}

#[tokio::test]
async fn d2_a_needed_library_that_is_nowhere_is_named_before_the_library_is_loaded() {
    let folder = tempfile::tempdir().expect("a folder");
    let needed = c_library(folder.path(), "libllmuxlost.so.1", &answers(1), &[]);
    let runpath = format!("-Wl,-rpath,{}/elsewhere", folder.path().display());
    let plugin = link(&folder.path().join("p.so"), &[&needed.to_string_lossy(), &runpath]);
    let reason = refused(&plugin).await;
    let elsewhere = format!("{}/elsewhere", folder.path().display());
    assert!(reason.contains("needs `libllmuxlost.so.1`") && reason.contains(&elsewhere), "{reason}");
    assert!(reason.contains("LD_LIBRARY_PATH"), "the remedy: {reason}");
    let needs = inspect(&plugin, &VerifyOptions::default()).needs.expect("needs");
    assert!(needs.libraries.contains(&"libllmuxlost.so.1".to_owned()), "{needs:?}");
    assert_eq!((needs.runpath, needs.rpath), (vec![elsewhere.clone()], Vec::new()));
    fs::create_dir(&elsewhere).expect("a folder");
    fs::rename(needed, Path::new(&elsewhere).join("libllmuxlost.so.1")).expect("moved");
    assert_eq!(answer(&plugin).await, "1", "found in the RUNPATH");
}

#[tokio::test]
async fn d2_a_library_that_a_needed_library_lacks_is_named_with_that_library() {
    let folder = tempfile::tempdir().expect("a folder");
    let inner = c_library(folder.path(), "libllmuxinner.so", "int llmux_inner(void) { return 1; }", &[]);
    let outer = "int llmux_inner(void); unsigned llmux_dep(void) { return 1 + llmux_inner(); }";
    let outer = c_library(folder.path(), "libllmuxouter.so", outer, &[&inner.to_string_lossy()]);
    let rpath = |flags: &str| format!("-Wl,{flags},-rpath,{}", folder.path().display());
    let link = |name: &str, flags: &str| {
        let arguments = [&*outer.to_string_lossy(), &rpath(flags), "-Wl,--allow-shlib-undefined"];
        link(&folder.path().join(name), &arguments)
    };
    let reason = refused(&link("runpath.so", "--enable-new-dtags")).await;
    assert!(reason.contains("needs `libllmuxinner.so` (for `libllmuxouter.so`)"), "{reason}");
    let by_rpath = link("rpath.so", "--disable-new-dtags");
    let needs = inspect(&by_rpath, &VerifyOptions::default()).needs.expect("needs");
    assert_eq!(needs.rpath, [folder.path().to_string_lossy()]);
    assert_eq!(answer(&by_rpath).await, "2", "an RPATH counts for the needed libraries, too");
}

#[tokio::test]
async fn d2_a_version_of_glibc_that_is_newer_than_the_hosts_is_named() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut bytes = fs::read(Fixtures::get().guard()).expect("the guard");
    let plugin = folder.path().join("p.so");
    fs::write(&plugin, &bytes).expect("written");
    let needs = inspect(&plugin, &VerifyOptions::default()).needs.expect("needs");
    let newest = needs.glibc.get("libc.so.6").expect("it needs the C library").clone();
    let future = format!("{}99", &newest[..newest.len() - 2]);
    let at = bytes.windows(newest.len()).position(|it| it == newest.as_bytes()).expect("the version's name");
    bytes[at..at + newest.len()].copy_from_slice(future.as_bytes());
    fs::write(&plugin, bytes).expect("written");
    let reason = refused(&plugin).await;
    assert!(reason.contains(&format!("needs `{future}` of `libc.so.6`")), "{reason}");
    assert!(reason.contains("its newest is `GLIBC_2."), "{reason}");
    let needs = inspect(&plugin, &VerifyOptions::default()).needs.expect("needs");
    assert_eq!(needs.glibc.get("libc.so.6"), Some(&future));
}

#[test]
fn d2_static_thread_local_storage_is_shown() {
    let folder = tempfile::tempdir().expect("a folder");
    let source = "static __thread char kept[4096] __attribute__((tls_model(\"initial-exec\")));\n\
                  unsigned llmux_dep(void) { return kept[0]; }";
    let code = folder.path().join("dep.c");
    fs::write(&code, source).expect("written");
    let plugin = link(&folder.path().join("p.so"), &["-fPIC", &code.to_string_lossy()]);
    let needs = inspect(&plugin, &VerifyOptions::default()).needs.expect("needs");
    assert!(needs.static_tls && needs.tls_bytes >= 4096, "{needs:?}");
    let guard = inspect(&Fixtures::get().guard(), &VerifyOptions::default()).needs.expect("needs");
    assert!(!guard.static_tls && guard.tls_bytes < 4096, "{guard:?}");
}
