//! The program and a library whose initializer writes a file: commands that only inspect or refuse the library run
//! none of its code.

use std::{fs, path::PathBuf};

use llmux_testing::{Server, program::llmux};
use llmux_tests::Fixtures;
use serde_json::json;
use tempfile::TempDir;

use crate::configuration;

/// Returns the library in a folder, and the file to which it writes.
fn trap() -> (TempDir, PathBuf, PathBuf) {
    let root = tempfile::tempdir().expect("a folder");
    let (folder, log) = (root.path().join("plugins"), root.path().join("log"));
    fs::create_dir(&folder).expect("a folder");
    Fixtures::get().initializer(&folder.join("libinitializer.so"), &log);
    (root, folder, log)
}

#[tokio::test]
async fn d1_the_command_line_looks_at_a_library_and_runs_nothing_of_it() {
    let (root, folder, log) = trap();
    let (dir, file) = (folder.to_str().expect("text"), folder.join("libinitializer.so"));
    let file = file.to_str().expect("text");
    for (arguments, is_good) in [
        (&["plugin", "list", "--dir", dir][..], true),
        (&["plugin", "list", "--json", "--dir", dir], true),
        (&["plugin", "inspect", file], true),
        (&["plugin", "inspect", "--json", file], true),
        (&["plugin", "verify", file], true),
        (&["plugin", "verify", "--sha256", &"0".repeat(64), file], false),
    ] {
        let output = llmux(root.path()).args(arguments).output().await.expect("llmux runs");
        let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        assert_eq!(output.status.success(), is_good, "{arguments:?}: {said}");
        assert!(said.contains("initializer"), "it was looked at: {arguments:?}: {said}");
        assert!(!log.exists(), "the initializer ran: {arguments:?}");
    }
    let verify = ["plugin", "verify", "--trial", file];
    let output = llmux(root.path()).args(verify).output().await.expect("llmux runs");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success() && said.contains("loading      passed"), "{said}");
    assert_eq!(
        log.exists(),
        !cfg!(target_os = "linux"),
        "it ran in the child, whose sandbox refuses to write"
    );
    let _ = fs::remove_file(&log);
    let chat =
        llmux(root.path()).args(["chat", "--plugin", file, "Hello"]).output().await.expect("llmux runs");
    assert!(chat.status.success() && log.exists(), "loaded, it runs: {chat:?}");
}

#[tokio::test]
async fn d1_a_server_runs_nothing_of_a_library_that_is_off_or_refused() {
    let (_root, folder, log) = trap();
    let file = folder.join("libinitializer.so");
    let folders = |more: &str| format!("[plugins]\ndirs = [{folder:?}]\n{more}\n");
    let plugin = |more: &str| format!("[[plugin]]\nname = \"initializer\"\n{more}\n");
    let off = folders("autoload = true\nwatch = true") + &plugin("enabled = false");
    let server = Server::with(&configuration(&off), &[]).await;
    let quiet = |after: &str| assert!(!log.exists(), "the initializer ran: {after}");
    quiet("a start with `enabled = false`, autoload and watch");
    for body in [
        json!({"path": file, "name": "a", "sha256": "00".repeat(32)}),
        json!({"plugin": "initializer", "name": "a", "sha256": "00".repeat(32)}),
        json!({"path": file, "name": "No Name"}),
    ] {
        let (status, said) = server.call("POST", "/admin/plugins", Some(&body)).await;
        assert_eq!(status, 422, "{said}");
        quiet("a refused load");
    }
    let wrong =
        folders("autoload = true\nwatch = true") + &plugin(&format!("sha256 = \"{}\"", "0".repeat(64)));
    assert_eq!(server.reconfigure(&configuration(&wrong)).await, 422);
    quiet("a refused configuration");
    assert_eq!(server.reconfigure(&configuration(&off)).await, 200);
    quiet("a reload that leaves it off");
    let on = folders("autoload = true\nwatch = true") + &plugin("");
    assert_eq!(server.reconfigure(&configuration(&on)).await, 200);
    let runs = if cfg!(target_os = "linux") { "ran\n" } else { "ran\nran\n" };
    assert_eq!(fs::read_to_string(&log).expect("it ran"), runs, "here, and without a sandbox on trial");
}
