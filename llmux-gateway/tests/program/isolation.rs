//! Isolated plugins of the program: its own child processes, and their end with it (rules I1 to I3).

use std::path::Path;

use serde_json::json;

use crate::support::{LONG, Server, edition, until};

/// Starts a server with the library `edition` in a child process.
async fn server(isolation: &str) -> Server {
    let folder = tempfile::tempdir().expect("a folder");
    let library = folder.path().join("libedition.so");
    std::fs::write(&library, edition("one")).expect("written");
    let configuration = format!(
        "[[provider]]\nname = \"echo\"\ntype = \"echo\"\nmodels = [\"echo\"]\n[[plugin]]\nname = \"edition\"\n\
         path = {library:?}\n{isolation}\n"
    );
    Server::within(folder, &configuration, &[]).await
}

fn lives(pid: u64) -> bool {
    Path::new(&format!("/proc/{pid}")).exists()
}

#[tokio::test(flavor = "multi_thread")]
async fn i2_a_server_that_is_killed_leaves_no_child() {
    let mut server = server("isolation = \"process\"").await;
    let plugin = server.plugin("edition").await;
    assert_eq!((&plugin["isolation"], &plugin["process"]["state"]), (&json!("process"), &json!("active")));
    let pid = plugin["process"]["pid"].as_u64().expect("a child");
    assert!(lives(pid));
    let answer = server.ask("echo").await;
    assert!(answer.to_string().contains("llmux-edition-marker-"), "{answer}");
    server.signal("-KILL").await;
    tokio::time::timeout(LONG, server.child.wait()).await.expect("in time").expect("it ends");
    until("the child has ended", async || !lives(pid)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn i1_the_admin_api_and_the_command_line_load_an_isolated_instance_and_list_its_process() {
    let server = server("").await;
    assert_eq!(server.plugin("edition").await["process"], json!(null));
    let library = server.folder.path().join("libedition.so").to_string_lossy().into_owned();
    let arguments = ["plugin", "load", &library, "--name", "second", "--isolation", "process"];
    let loaded = server.llmux(&arguments).await;
    assert!(loaded.status.success(), "{}", String::from_utf8_lossy(&loaded.stderr));
    let pid = server.plugin("second").await["process"]["pid"].as_u64().expect("a child");
    let listed = server.llmux(&["plugin", "list"]).await;
    let listed = String::from_utf8_lossy(&listed.stdout).into_owned();
    assert!(listed.contains(&format!("active (process {pid})")), "{listed}");
    server.llmux(&["plugin", "unload", "second"]).await;
    assert!(!lives(pid));
}
