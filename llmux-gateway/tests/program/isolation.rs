//! Isolated plugins of the program: its own child processes, and their end with it (rules I1 to I3).

use std::path::Path;

use serde_json::json;

use crate::support::{LONG, Server, edition, until};

/// Returns a configuration with an instance of the library.
fn configured(library: &Path, isolation: &str) -> String {
    format!(
        "[[provider]]\nname = \"echo\"\ntype = \"echo\"\nmodels = [\"echo\"]\n[[plugin]]\nname = \"edition\"\n\
         path = {library:?}\n{isolation}\n"
    )
}

/// Starts a server with the library `edition` in a child process.
async fn server(isolation: &str) -> Server {
    let folder = tempfile::tempdir().expect("a folder");
    let library = folder.path().join("libedition.so");
    std::fs::write(&library, edition("one")).expect("written");
    let configuration = configured(&library, isolation);
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
    // The allocator of the program starts no thread before the sandbox.
    assert!(!plugin["process"]["missing_sandbox"].to_string().contains("threads"), "{plugin}");
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

#[tokio::test(flavor = "multi_thread")]
async fn i5_the_command_line_and_a_reload_move_a_running_instance() {
    let server = server("").await;
    let set = async |arguments: &[&str]| {
        let done = server.llmux(&[&["plugin", "set", "edition"], arguments].concat()).await;
        let errors = String::from_utf8_lossy(&done.stderr).into_owned();
        let plugin = server.plugin("edition").await;
        (errors, plugin["priority"].as_i64(), plugin["process"]["pid"].as_u64())
    };
    let (errors, priority, first) =
        set(&["--isolation", "process", "--memory", "67108864", "--priority", "7"]).await;
    let first = first.unwrap_or_else(|| panic!("{errors}"));
    assert_eq!(priority, Some(7));
    // A change that is refused leaves the child as it is.
    let (errors, priority, pid) = set(&["--files", "3", "--priority", "8"]).await;
    assert!(errors.contains("`files` is at least 32; it is 3"), "{errors}");
    assert_eq!((priority, pid), (Some(7), Some(first)));
    let (errors, _, second) = set(&["--network", "--default", "memory"]).await;
    let second = second.unwrap_or_else(|| panic!("{errors}"));
    assert_ne!(first, second);
    let (errors, _, pid) = set(&["--isolation", "none"]).await;
    assert!(errors.contains("`network`: the instance runs in the host"), "{errors}");
    assert_eq!(pid, Some(second));
    let (errors, _, pid) = set(&["--default", "isolation", "--default", "network"]).await;
    assert_eq!((errors.as_str(), pid), ("", None));
    until("the children have ended", async || !(lives(first) || lives(second))).await;
    // The configuration says the same of an instance that runs.
    let library = server.folder.path().join("libedition.so");
    let isolated = configured(&library, "isolation = \"process\"\nfiles = 64");
    assert_eq!(server.reconfigure(&isolated).await, 200);
    let pid = server.plugin("edition").await["process"]["pid"].as_u64().expect("a child");
    assert!(lives(pid));
    assert!(server.ask("echo").await.to_string().contains("llmux-edition-marker-"));
}
