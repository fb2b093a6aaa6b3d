//! Foreign libraries on the command line: a library for another system, a library with a very long description, and a
//! file whose name is not valid text.

use std::{
    ffi::{OsStr, OsString},
    os::unix::ffi::OsStrExt,
    path::Path,
};

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{Server, llmux, read, system_prompt, text};

async fn run(arguments: &[OsString]) -> (Option<i32>, String, String) {
    let folder = tempfile::tempdir().expect("a folder");
    let output = llmux(folder.path()).args(arguments).output().await.expect("llmux runs");
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

fn words(command: &[&str], path: &Path) -> Vec<OsString> {
    command.iter().map(OsString::from).chain([path.into()]).collect()
}

/// Returns a dynamic library for arm64 with one segment of one section (Apple's `mach-o/loader.h`).
fn mach_o(manifest: &Value) -> Vec<u8> {
    let json = manifest.to_string();
    let data = [b"LLMUXPLG", &(json.len() as u32).to_le_bytes()[..], json.as_bytes()].concat();
    let words = |words: &[u32]| words.iter().flat_map(|word| word.to_le_bytes()).collect::<Vec<_>>();
    let name = |name: &str| format!("{name:\0<16}").into_bytes();
    let size = data.len() as u32;
    [
        words(&[0xfeed_facf, 0x0100_000c, 0, 6, 1, 152, 0, 0, 0x19, 152]),
        name("__DATA"),
        words(&[0, 0, size, 0, 184, 0, size, 0, 3, 3, 1, 0]),
        name("__llmux"),
        name("__DATA"),
        words(&[0, 0, size, 0, 184, 0, 0, 0, 0, 0, 0, 0]),
        data,
    ]
    .concat()
}

#[tokio::test]
async fn d1_a_library_of_another_system_is_shown_whole_and_its_row_stays_a_row() {
    let folder = tempfile::tempdir().expect("a folder");
    let long = "very \u{202e}long ".repeat(3_000);
    let manifest = json!({
        "name": "foreign", "version": "1.2.3", "abi": "0.2.0", "priority": -7, "panic": "unwind",
        "entry": "llmux_plugin_foreign", "description": long, "authors": "A:B", "license": "MIT", "sdk": "0.1.0",
        "rustc": "rustc 1.95.0", "target": "aarch64-apple-darwin", "on_error": "fail",
        "abi_min": "0.2.0", "hooks": ["pre_hook"], "needs": ["http"], "reload": "overlap", "streams": "unseen",
    });
    let path = folder.path().join("libforeign.dylib");
    std::fs::write(&path, mach_o(&manifest)).expect("written");

    let (code, out, error) = run(&words(&["plugin", "inspect", "--json"], &path)).await;
    let seen: Value = serde_json::from_str(&out).expect("JSON");
    assert_eq!((code, &*error, &seen["manifest"]), (Some(0), "", &manifest));
    assert_eq!((&seen["loadable"], &seen["error"]["check"]), (&json!(false), &json!("machine")));
    assert!(!out.contains('\u{202e}'), "JSON escapes what a terminal would obey");

    let (code, out, _) = run(&words(&["plugin", "inspect"], &path)).await;
    assert_eq!(code, Some(0));
    assert!(
        out.contains(long.trim_end().replace('\u{202e}', "\\u{202e}").as_str()),
        "the description, whole"
    );
    for shown in
        ["name foreign", "priority -7", "authors A, B", "on error fail", "target aarch64-apple-darwin"]
    {
        let is_there = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ") == shown;
        assert!(out.lines().any(is_there), "no line `{shown}`");
    }
    assert!(out.contains("no: is built for MachO Aarch64, and this host is "), "why it does not load");

    for more in [&[][..], &["--long"]] {
        let arguments = words(&[&["plugin", "list"], more, &["--dir"]].concat(), folder.path());
        let (code, out, _) = run(&arguments).await;
        assert_eq!((code, out.lines().count()), (Some(0), 2), "{more:?}");
        assert!(out.len() < 4_000, "{more:?}: one library's text makes {} bytes of table", out.len());
        assert!(out.contains("foreign") && out.contains('…') && out.contains("no: is built for "), "{out}");
    }
}

#[tokio::test]
async fn d1_a_name_that_is_no_text_hinders_no_list() {
    let folder = tempfile::tempdir().expect("a folder");
    let (good, bad) =
        (folder.path().join("libgood.so"), folder.path().join(OsStr::from_bytes(b"lib\xff.so")));
    for path in [&good, &bad] {
        std::fs::copy(system_prompt(), path).expect("copied");
    }
    let (code, out, error) = run(&words(&["plugin", "list", "--json", "--dir"], folder.path())).await;
    assert_eq!((code, &*error), (Some(0), ""));
    let seen: Value = serde_json::from_str(&out).expect("JSON");
    let names: Vec<_> = seen["libraries"].as_array().expect("a list").iter().map(|it| &it["path"]).collect();
    let shown = [&good, &bad].map(|path| json!(path.to_string_lossy()));
    assert_eq!(names, shown.iter().collect::<Vec<_>>());
    for command in [&["inspect"][..], &["verify"], &["try", "--config", r#"{"prompt": "p"}"#]] {
        let (code, out, error) = run(&words(&[&["plugin"], command, &["--json"]].concat(), &bad)).await;
        assert_eq!((code, &*error), (Some(0), ""), "{command:?}");
        serde_json::from_str::<Value>(&out).unwrap_or_else(|error| panic!("{command:?}: {error}: {out}"));
    }
    // In the folder of a server: refused, as its configuration lacks a member, and told all the same.
    let server = Server::with("", &["--plugin-dir", &folder.path().to_string_lossy()]).await;
    let (status, list) = read(server.admin(Method::GET, "/admin/plugins")).await;
    let libraries: Vec<_> =
        list["plugins"].as_array().expect("a list").iter().map(|it| &it["library"]).collect();
    assert_eq!((status, libraries), (200, shown.iter().collect()));
}
