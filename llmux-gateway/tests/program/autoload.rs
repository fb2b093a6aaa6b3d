//! Rule D8: a library in a plugin folder is autoloaded while the configuration does not name it, whenever that begins
//! or ends. Rule L1: the autoloaded instance waits until its name and its place in the list are free.

use std::path::Path;

use reqwest::Method;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::{Server, answered_by, drop_in, edition, read, replaced, system_prompt, until};

fn configuration(folder: &TempDir, watch: bool, more: &str) -> String {
    format!("[plugins]\ndirs = [{:?}]\nautoload = true\nwatch = {watch}\n{more}\n", folder.path())
}

fn table(name: &str, more: &str) -> String {
    format!("[[plugin]]\nname = \"{name}\"\n{more}\n")
}

async fn reconfigure(server: &Server, configuration: &str) -> Value {
    server.configure(configuration);
    let (status, answer) = read(server.admin(Method::POST, "/admin/reload")).await;
    assert_eq!(status, 200, "{answer}");
    answer
}

/// Returns the priority of the instance with a name, and whether it was autoloaded; `None` if there is no such
/// instance.
async fn instance(server: &Server, name: &str) -> Option<(Value, Value)> {
    let info = server.plugin(name).await;
    (info["state"] == "active").then(|| (info["priority"].clone(), info["origin"].clone()))
}

async fn unload(server: &Server, name: &str) {
    assert_eq!(read(server.admin(Method::DELETE, &format!("/admin/plugins/{name}"))).await.0, 204);
}

fn library() -> (TempDir, std::path::PathBuf) {
    let folder = tempfile::tempdir().expect("a folder");
    let path = drop_in(folder.path(), "libedition", &edition("one"));
    (folder, path)
}

#[tokio::test]
async fn d8_a_library_that_the_file_names_no_more_is_autoloaded_with_and_without_watch() {
    for watch in [false, true] {
        let (folder, _) = library();
        let named = configuration(&folder, watch, &table("edition", "priority = 3"));
        let server = Server::with(&named, &[]).await;
        assert_eq!(instance(&server, "edition").await, Some((json!(3), json!("config"))));
        let answer = reconfigure(&server, &configuration(&folder, watch, "")).await;
        assert_eq!(answer["plugins"][0]["name"], "edition", "{answer}");
        assert_eq!(
            instance(&server, "edition").await,
            Some((json!(100), json!("folder"))),
            "watch = {watch}"
        );
        server.signal("-TERM").await;
        let (_, log) = server.end().await;
        let told = |what: &str| log.lines().any(|line| line.contains(what) && line.contains("who=\"local\""));
        assert!(told("plugin unloaded") && told("plugin loaded"), "{log}");
    }
}

#[tokio::test]
async fn d8_a_table_that_comes_takes_the_library_from_its_autoloaded_instance_in_one_change() {
    let (folder, path) = library();
    let server = Server::with(&configuration(&folder, true, ""), &[]).await;
    assert_eq!(instance(&server, "edition").await, Some((json!(100), json!("folder"))));
    let by_path = format!("path = {path:?}\npriority = 4");
    for (name, more, priority) in
        [("edition", "priority = 3", 3), ("mine", "plugin = \"edition\"", 100), ("mine", &by_path, 4)]
    {
        let answer = reconfigure(&server, &configuration(&folder, true, &table(name, more))).await;
        assert_eq!(instance(&server, name).await, Some((json!(priority), json!("config"))), "{answer}");
        let count = read(server.admin(Method::GET, "/admin/plugins")).await.1["plugins"].clone();
        let active = count.as_array().expect("a list").iter().filter(|it| it["state"] == "active").count();
        assert_eq!(active, 1, "{count}");
        reconfigure(&server, &configuration(&folder, true, "")).await;
        assert_eq!(instance(&server, "edition").await, Some((json!(100), json!("folder"))), "after {name}");
    }
    reconfigure(&server, &configuration(&folder, true, &table("edition", "enabled = false"))).await;
    assert_eq!(instance(&server, "edition").await, None, "named and not enabled");
    assert_eq!(answered_by(&server).await, Value::Null);
}

#[tokio::test]
async fn d8_what_somebody_unloaded_stays_out_whatever_the_file_says_less() {
    let (folder, _) = library();
    let server = Server::with(&configuration(&folder, true, &table("edition", "priority = 3")), &[]).await;
    unload(&server, "edition").await;
    // Another edition of it: it is the configuration's all the same, and not one to load with other settings.
    drop_in(folder.path(), "libedition", &edition("two"));
    drop_in(
        folder.path(),
        "libother",
        &replaced(&edition("one"), b"\"name\":\"edition\"", b"\"name\":\"another\""),
    );
    until("the other comes", async || instance(&server, "another").await.is_some()).await;
    assert_eq!(instance(&server, "edition").await, None, "the file names it");
    unload(&server, "another").await;
    reconfigure(&server, &configuration(&folder, true, "")).await;
    assert_eq!(instance(&server, "another").await, None, "unloaded by hand");
    until("the other one, which is another file than the one that was unloaded", async || {
        instance(&server, "edition").await == Some((json!(100), json!("folder")))
    })
    .await;
}

async fn waits(server: &Server, folder: &Path, why: &str) {
    drop_in(folder, "libedition", &edition("one"));
    until(&format!("it is refused: {why}"), async || {
        let list = read(server.admin(Method::GET, "/admin/plugins")).await.1;
        let plugins = list["plugins"].as_array().expect("a list").clone();
        plugins
            .iter()
            .any(|it| it["state"] == "failed" && it["error"].as_str().is_some_and(|it| it.contains(why)))
    })
    .await;
}

#[tokio::test]
async fn l1_a_library_comes_in_when_an_unload_frees_its_name_or_its_place() {
    for (name, max, why) in [("edition", 9, "is there already"), ("another", 1, "`max_plugins`")] {
        let folder = tempfile::tempdir().expect("a folder");
        let limit = format!("[pipeline]\nmax_plugins = {max}");
        let server = Server::with(&configuration(&folder, true, &limit), &[]).await;
        let load = json!({"path": system_prompt(), "name": name, "config": {"prompt": "first"}});
        assert_eq!(read(server.admin(Method::POST, "/admin/plugins").json(&load)).await.0, 201);
        waits(&server, folder.path(), why).await;
        unload(&server, name).await;
        until("it comes in", async || instance(&server, "edition").await.is_some()).await;
        assert_eq!(answered_by(&server).await, "llmux-edition-marker-one");
    }
}
