//! Guards, which are instances that fail closed: a change does not weaken one by accident, and a server whose required
//! instances are not active is not ready.

use std::path::Path;

use reqwest::Method;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{
    fail_closed::logged,
    support::{
        Server, answered_by, drop_in, edition, error, guard, http, llmux, read, replaced, serve, text, until,
    },
};

fn folder() -> (TempDir, String) {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().to_string_lossy().into_owned();
    (folder, path)
}

/// Returns the configuration of the guard `edition` in a folder.
fn configured(folder: &Path, name: &str, more: &str) -> String {
    format!("[plugins]\ndirs = [{folder:?}]\n[[plugin]]\nname = \"{name}\"\nplugin = \"edition\"\n{more}\n")
}

async fn ready(server: &Server) -> u16 {
    read(server.get("/readyz")).await.0
}

/// Returns the required instances that are not active, as the admin API names them.
async fn inactive(server: &Server) -> Value {
    server.call("GET", "/admin/plugins", None).await.1["inactive"].take()
}

#[tokio::test]
async fn a_guard_is_unloaded_disabled_or_set_to_continue_with_force_only() {
    let (folder, _) = folder();
    drop_in(folder.path(), "libedition", &guard("one"));
    let server = Server::with(&configured(folder.path(), "edition", ""), &[]).await;
    let one = "/admin/plugins/edition";
    for (method, path, body, state) in [
        ("DELETE", one.to_owned(), None, "removed"),
        ("POST", format!("{one}/disable"), None, "disabled"),
        ("PATCH", one.to_owned(), Some(json!({"on_error": "continue"})), "set to `continue`"),
        ("PATCH", one.to_owned(), Some(json!({"on_error": "continue", "force": false})), "set to `continue`"),
    ] {
        let (status, refused) = server.call(method, &path, body.as_ref()).await;
        let refused = &refused["error"];
        assert_eq!((status, &refused["code"]), (409, &json!("needs_force")), "{method} {path}: {refused}");
        let message = refused["message"].as_str().expect("text");
        assert!(message.contains(&format!("`edition` would be {state}")), "{message}");
        assert!(message.contains("`--force`"), "{message}");
        assert_eq!(answered_by(&server).await, "llmux-edition-marker-one");
    }
    for command in ["unload", "disable"] {
        let refused = server.llmux(&["plugin", command, "edition"]).await;
        assert_eq!(refused.status.code(), Some(1));
        assert!(text(&refused.stderr).contains("repeat it with `--force`"), "{}", text(&refused.stderr));
    }
    // Neither other settings nor another generation weaken it.
    let set = server.llmux(&["plugin", "set", "edition", "--priority", "7"]).await;
    assert!(set.status.success(), "{}", text(&set.stderr));
    let reload = server.llmux(&["plugin", "reload", "edition"]).await;
    assert!(reload.status.success(), "{}", text(&reload.stderr));

    let set = server.llmux(&["plugin", "set", "edition", "--on-error", "continue", "--force"]).await;
    assert!(set.status.success(), "{}", text(&set.stderr));
    assert_eq!(server.plugin("edition").await["on_error"], "continue");
    assert!(server.llmux(&["plugin", "set", "edition", "--default", "on-error"]).await.status.success());
    let disable = server.llmux(&["plugin", "disable", "edition", "--force"]).await;
    assert!(disable.status.success(), "{}", text(&disable.stderr));
    assert_eq!((answered_by(&server).await, ready(&server).await), (Value::Null, 200), "by the operator");
    assert!(server.llmux(&["plugin", "enable", "edition"]).await.status.success());
    let force = json!({"force": true});
    assert_eq!(server.call("DELETE", one, Some(&force)).await.0, 204);
    assert_eq!((answered_by(&server).await, ready(&server).await), (Value::Null, 503), "it is required");
    assert_eq!(inactive(&server).await, json!(["edition"]));
    // A reload brings it back.
    assert!(server.llmux(&["reload"]).await.status.success());
    assert_eq!((inactive(&server).await, ready(&server).await), (json!([]), 200));
    let log = server.stop().await;
    assert!(log.contains("not ready: required instances are not active: edition"), "{log}");
    assert!(log.contains("ready: every required instance is active"), "{log}");
    assert!(log.contains("what=\"weaken\" instance=\"edition\""), "{log}");
}

#[tokio::test]
async fn d9_a_reload_that_weakens_a_guard_changes_nothing_without_force() {
    let (folder, _) = folder();
    drop_in(folder.path(), "libedition", &guard("one"));
    let before = configured(folder.path(), "edition", "");
    let mut server = Server::with(&before, &[]).await;
    for (configuration, state) in [
        ("[retry]\nmax_retries = 1\n".to_owned(), "removed"),
        (configured(folder.path(), "renamed", ""), "removed"),
        (configured(folder.path(), "edition", "enabled = false"), "disabled"),
        (configured(folder.path(), "edition", "on_error = \"continue\""), "set to `continue`"),
    ] {
        server.configure(&configuration);
        let (status, refused) = error(server.admin(Method::POST, "/admin/reload")).await;
        assert_eq!((status, &refused["code"]), (409, &json!("needs_force")), "{configuration}: {refused}");
        let message = refused["message"].as_str().expect("text");
        assert!(message.contains(&format!("`edition` would be {state}")), "{message}");
        assert_eq!(answered_by(&server).await, "llmux-edition-marker-one");
    }
    server.signal("-HUP").await;
    let line = logged(&mut server, &["configuration refused", "who=\"config\""]).await;
    assert!(line.contains("ERROR") && line.contains("`edition` would be set to `continue`"), "{line}");
    // The file is compared with what runs, not with the refused one.
    server.configure(&before);
    assert_eq!(text(&server.llmux(&["reload"]).await.stdout), "nothing is different\n");
    server.configure("[retry]\nmax_retries = 1\n");
    let forced = server.llmux(&["reload", "--force"]).await;
    assert!(text(&forced.stdout).contains("plugin `edition` removed"), "{}", text(&forced.stderr));
    assert_eq!((answered_by(&server).await, ready(&server).await), (Value::Null, 200));
}

/// Checks a server that has refused the library of a guard: it is not ready, and only operators learn the reason.
async fn is_not_ready(server: &Server, why: &[&str]) {
    let (status, body) = error(server.get("/readyz")).await;
    assert_eq!((status, &body["code"]), (503, &json!("not_ready")), "{body}");
    assert!(!body.to_string().contains("edition"), "everybody can read it: {body}");
    assert_eq!(read(server.get("/healthz")).await.0, 200);
    let list = text(&server.llmux(&["plugin", "list"]).await.stdout);
    assert!(list.contains("not ready: required instances are not active: edition\n"), "{list}");
    let refused = server.plugin("edition").await;
    let message = refused["error"].as_str().expect("a reason");
    assert!(why.iter().all(|word| message.contains(word)), "{message}");
    let metrics = http().get(format!("{}/metrics", server.admin)).send().await.expect("an answer");
    assert!(metrics.text().await.expect("text").contains("\nllmux_plugin_refused_files 1\n"));
}

#[tokio::test]
async fn a_server_that_cannot_load_an_autoloaded_guard_is_not_ready() {
    let (plugins, dir) = folder();
    drop_in(plugins.path(), "libedition", &guard("one"));
    let open = std::os::unix::fs::PermissionsExt::from_mode(0o777);
    std::fs::set_permissions(plugins.path(), open).expect("set");
    let (folder, _) = folder();
    let mut command = serve(&folder, "");
    command.args(["--plugin-dir", &dir]);
    let server = Server::of(command, folder).await;
    is_not_ready(&server, &["its folder is writable by everyone"]).await;
    // A plugin that does not fail closed is missed by nobody.
    drop_in(plugins.path(), "libedition", &edition("one"));
    until("the other library is refused", async || ready(&server).await == 200).await;
    assert_eq!(server.plugin("edition").await["state"], "failed");
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_guard_is_loaded_from_memory_if_the_folder_for_copies_is_not_there() {
    let (plugins, dir) = folder();
    drop_in(plugins.path(), "libedition", &guard("one"));
    let (folder, nowhere) = folder();
    let nowhere = format!("{nowhere}/nowhere");
    let mut command = serve(&folder, "");
    command.args(["--plugin-dir", &dir]).env("TMPDIR", &nowhere);
    let server = Server::of(command, folder).await;
    until("the server is ready", async || ready(&server).await == 200).await;
    is_in_memory(&server).await;
    drop_in(plugins.path(), "libedition", &guard("two"));
    until("it is replaced", async || server.plugin("edition").await["generation"] == 2).await;
    is_in_memory(&server).await;
    assert_eq!(
        answered_by(&server).await,
        "llmux-edition-marker-two",
        "the new image, not the one of before"
    );
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn an_unusable_folder_for_copies_and_a_refused_file_have_one_line_each() {
    let (plugins, dir) = folder();
    drop_in(plugins.path(), "libedition", &edition("one"));
    let another = replaced(&edition("one"), b"\"name\":\"edition\"", b"\"name\":\"another\"");
    drop_in(plugins.path(), "libanother", &another);
    let (folder, nowhere) = folder();
    let mut command = serve(&folder, "");
    command.args(["--plugin-dir", &dir]).env("TMPDIR", format!("{nowhere}/nowhere"));
    let server = Server::of(command, folder).await;
    assert_eq!(server.plugin("another").await["copy_in_memory"], true);
    is_in_memory(&server).await;
    drop_in(plugins.path(), "libedition", &edition("two"));
    until("it is replaced", async || server.plugin("edition").await["generation"] == 2).await;
    drop_in(plugins.path(), "libbroken", &edition("one")[..4000]);
    until("it is refused", async || server.plugin("broken").await["state"] == "failed").await;
    let log = server.stop().await;
    let lines = |part: &str| log.lines().filter(|line| line.contains("WARN") && line.contains(part)).count();
    assert_eq!((lines("nowhere"), lines("libbroken")), (1, 1), "{log}");
}

/// Checks that the list of plugins says that the private copy is in memory.
#[cfg(target_os = "linux")]
async fn is_in_memory(server: &Server) {
    assert_eq!(server.plugin("edition").await["copy_in_memory"], true);
    let list = text(&server.llmux(&["plugin", "list"]).await.stdout);
    assert!(list.contains("libedition.so (copy in memory)"), "{list}");
}

#[cfg(target_os = "linux")]
#[tokio::test]
#[ignore = "needs user namespaces, which some systems keep for root; run it with --ignored"]
async fn a_guard_is_loaded_from_memory_if_the_folder_for_copies_is_mounted_noexec() {
    let (plugins, dir) = folder();
    drop_in(plugins.path(), "libedition", &guard("one"));
    let (folder, _) = folder();
    let copies = folder.path().join("copies");
    std::fs::create_dir(&copies).expect("made");
    let program = llmux(folder.path());
    let mut command = tokio::process::Command::new("unshare");
    command.args(["--user", "--map-root-user", "--mount", "sh", "-c"]);
    command.arg("mount -t tmpfs -o noexec tmpfs \"$TMPDIR\" && exec \"$0\" \"$@\"");
    command.arg(program.as_std().get_program());
    command.args(["serve", "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0", "--plugin-dir", &dir]);
    command.env("XDG_RUNTIME_DIR", folder.path()).env("TMPDIR", &copies).current_dir(folder.path());
    command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped()).kill_on_drop(true);
    let server = Server::of(command, folder).await;
    until("the server is ready", async || ready(&server).await == 200).await;
    is_in_memory(&server).await;
}

#[tokio::test]
async fn a_required_plugin_that_is_missing_keeps_the_server_from_being_ready() {
    let (plugins, _) = folder();
    drop_in(plugins.path(), "libedition", &edition("one")[..4000]);
    let configuration = format!(
        "[plugins]\ndirs = [{:?}]\nautoload = true\nwatch = true\nrequired = [\"edition\"]\n",
        plugins.path()
    );
    let server = Server::with(&configuration, &[]).await;
    is_not_ready(&server, &["is not a shared library"]).await;
    drop_in(plugins.path(), "libedition", &edition("one"));
    until("the whole one is loaded", async || ready(&server).await == 200).await;
    assert_eq!(answered_by(&server).await, "llmux-edition-marker-one");
    let log = server.stop().await;
    assert_eq!(log.matches("not ready: required instances").count(), 1, "once for each change: {log}");
}

#[tokio::test]
async fn d6_an_autoloaded_guard_outlives_its_file_and_its_folder() {
    let (parent, _) = folder();
    let dir = parent.path().join("plugins");
    std::fs::create_dir(&dir).expect("made");
    drop_in(&dir, "libedition", &guard("one"));
    let plain = replaced(&edition("one"), b"\"name\":\"edition\"", b"\"name\":\"another\"");
    drop_in(&dir, "libanother", &plain);
    let server = Server::with("", &["--plugin-dir", &dir.to_string_lossy()]).await;
    assert_eq!(server.plugin("another").await["state"], "active");
    std::fs::rename(&dir, parent.path().join("away")).expect("renamed");
    until("the plain one goes with the folder", async || server.plugin("another").await.is_null()).await;
    let kept = server.plugin("edition").await;
    assert_eq!((&kept["state"], &kept["file_missing"]), (&json!("active"), &json!(true)), "{kept}");
    assert_eq!(answered_by(&server).await, "llmux-edition-marker-one");
    assert_eq!(ready(&server).await, 200);
    // Another file of the plugin takes its place.
    std::fs::create_dir(&dir).expect("made");
    drop_in(&dir, "libedition-2", &guard("two"));
    until("the other file is loaded", async || server.plugin("edition").await["version"] == "0.2.0").await;
    let now = server.plugin("edition").await;
    assert_eq!((&now["state"], &now["file_missing"]), (&json!("active"), &json!(false)), "{now}");
    assert_eq!(ready(&server).await, 200);
}
