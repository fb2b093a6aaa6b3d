//! Isolated plugins in a running server: their child processes, with their programs, end with it and with each reload.

use std::{collections::BTreeSet, fs, path::PathBuf};

use llmux_testing::{Server, http::LONG, program::until};
use llmux_tests::Fixtures;
use serde_json::json;

use crate::{answer, client, configuration};

/// Puts a library with an initializer into the folder of a server. While `hold` exists, the initializer waits.
fn library(server: &Server, name: &str) -> (PathBuf, PathBuf) {
    let (library, log) =
        (server.folder.path().join(format!("lib{name}.so")), server.folder.path().join(name));
    Fixtures::get().initializer(&library, &log);
    (library, log.with_extension("hold"))
}

/// Returns the processes that this one has started.
fn children(parent: u32) -> BTreeSet<u32> {
    let processes = fs::read_dir("/proc").expect("processes").flatten();
    let ids = processes.filter_map(|process| process.file_name().to_str()?.parse::<u32>().ok());
    ids.filter(|id| {
        let stat = fs::read_to_string(format!("/proc/{id}/stat")).unwrap_or_default();
        let fields = stat.rsplit_once(") ").map_or("", |(_, fields)| fields);
        fields.split(' ').nth(1) == Some(&parent.to_string())
    })
    .collect()
}

async fn load(server: &Server, name: &str) -> u32 {
    let (library, _) = library(server, name);
    let body = json!({"path": library, "name": name, "isolation": "process"});
    let (status, said) = server.call("POST", "/admin/plugins", Some(&body)).await;
    assert_eq!(status, 201, "{said}");
    said["process"]["pid"].as_u64().expect("a child") as u32
}

async fn state(server: &Server, name: &str) -> (String, Option<u32>) {
    let process = server.plugin(name).await["process"].take();
    let pid = process["pid"].as_u64().map(|pid| pid as u32);
    (process["state"].as_str().expect("a state").to_owned(), pid)
}

/// Kills a process, unless it has ended.
fn kill(pid: u32) {
    std::process::Command::new("kill").args(["-KILL", &pid.to_string()]).output().expect("kill runs");
}

#[tokio::test]
async fn i2_a_server_that_is_killed_leaves_no_child_in_any_state() {
    let mut server = Server::with(&configuration(""), &[]).await;
    load(&server, "active").await;
    load(&server, "failed").await;
    let restarting = load(&server, "restarting").await;
    until("five deaths", async || match state(&server, "failed").await {
        (state, _) if state == "failed" => true,
        (_, Some(pid)) => {
            kill(pid);
            false
        }
        _ => false,
    })
    .await;
    let (library, hold) = library(&server, "starting");
    fs::write(&hold, "").expect("written");
    let body = json!({"path": library, "name": "starting", "isolation": "process"});
    let starting = tokio::spawn(server.call("POST", "/admin/plugins", Some(&body)));
    let id = server.child.id().expect("it runs");
    until("three children", async || children(id).len() == 3).await;
    let there = children(id);
    kill(restarting);
    server.signal("-KILL").await;
    tokio::time::timeout(LONG, server.child.wait()).await.expect("in time").expect("it ends");
    until("no child is left", async || {
        let left = there.iter().filter(|pid| fs::exists(format!("/proc/{pid}")).is_ok_and(|exists| exists));
        left.count() == 0 && children(id).is_empty()
    })
    .await;
    starting.abort();
}

#[tokio::test]
async fn i2_a_server_that_is_killed_leaves_no_program_of_a_plugin() {
    let mut server = Server::with(&configuration(""), &[]).await;
    let started = server.folder.path().join("program");
    let body = json!({
        "path": Fixtures::get().probe(),
        "name": "starts",
        "isolation": "process",
        "processes": true,
        "read": ["/usr/bin", "/bin", "/dev/null"],
        "write": [server.folder.path()],
        "config": {"pre": [{"do": "start_program", "path": started}]},
    });
    let (status, said) = server.call("POST", "/admin/plugins", Some(&body)).await;
    assert_eq!(status, 201, "{said}");
    assert_eq!(answer(&client(&server), "echo", "Hello there").await, "Hello there");
    let program: u32 = fs::read_to_string(&started).expect("it runs").trim().parse().expect("its number");
    // One that nobody has waited for is over.
    let runs = |pid: u32| {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        stat.rsplit_once(") ").is_some_and(|(_, fields)| !fields.starts_with('Z'))
    };
    let mut there = children(server.child.id().expect("it runs"));
    assert_eq!(there.len(), 2, "the child and its watcher");
    there.insert(program);
    assert!(there.iter().all(|pid| runs(*pid)));
    server.signal("-KILL").await;
    tokio::time::timeout(LONG, server.child.wait()).await.expect("in time").expect("it ends");
    until("no process is left", async || !there.iter().any(|pid| runs(*pid))).await;
}

#[tokio::test]
async fn i6_reloads_of_an_isolated_plugin_leave_no_process_no_descriptor_and_no_thread() {
    let server = Server::with(&configuration(""), &[]).await;
    load(&server, "a").await;
    let id = server.child.id().expect("it runs");
    let reload = async || {
        let (status, said) = server.call("POST", "/admin/plugins/a/reload", None).await;
        assert_eq!(status, 200, "{said}");
    };
    let count = |of: &str| fs::read_dir(format!("/proc/{id}/{of}")).expect("its figures").count();
    // Threads for blocking work, and connections, exist afterwards.
    for _ in 0..3 {
        reload().await;
    }
    // The old instance ends when its requests have released it.
    until("one child", async || children(id).len() == 1).await;
    let before = (count("fd"), count("task"));
    for _ in 0..30 {
        reload().await;
    }
    until("the figures are as before", async || {
        children(id).len() == 1 && count("fd") <= before.0 && count("task") <= before.1
    })
    .await;
    assert_eq!(server.plugin("a").await["generation"], json!(34));
    server.stop().await;
}
