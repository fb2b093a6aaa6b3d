//! Watched plugin folders: files are added, changed, damaged and removed while requests run.

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::{Server, answered_by, drop_in, edition, http, send, until};

fn folder() -> (TempDir, String) {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().to_string_lossy().into_owned();
    (folder, path)
}

pub(crate) async fn is_active(server: &Server, version: &str) {
    until(&format!("{version} is active"), async || {
        let plugin = server.plugin("edition").await;
        plugin["state"] == "active" && plugin["version"] == version
    })
    .await;
}

/// Sends plain requests and streams, one after the other, until `stop` is set. One edition must answer each request.
pub(crate) async fn load(api: String, stop: Arc<AtomicBool>, done: Arc<AtomicU64>) {
    let url = format!("{api}/v1/chat/completions");
    let mut streams = false;
    while !stop.load(Ordering::Relaxed) {
        let body =
            json!({"model": "echo", "stream": streams, "messages": [{"role": "user", "content": "a b c d"}]});
        let response = send(http().post(&url).json(&body)).await;
        assert_eq!(response.status(), 200);
        let header =
            response.headers().get("x-edition").expect("an edition").to_str().expect("text").to_owned();
        let text = response.text().await.expect("an answer");
        let answers: Vec<Value> = match streams {
            false => vec![serde_json::from_str(&text).expect("JSON")],
            true => {
                assert!(text.ends_with("data: [DONE]\n\n"), "{text}");
                let events = text.lines().filter_map(|line| line.strip_prefix("data: "));
                events
                    .filter(|data| *data != "[DONE]")
                    .map(|data| serde_json::from_str(data).expect("JSON"))
                    .collect()
            }
        };
        for answer in answers {
            assert_eq!(
                (&answer["edition"], &answer["began_with"]),
                (&json!(header), &json!(header)),
                "{answer}"
            );
        }
        done.fetch_add(1, Ordering::Relaxed);
        streams = !streams;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_library_that_is_dropped_in_is_active_replaced_under_load_and_outlives_a_damaged_one() {
    let (folder, dir) = folder();
    let server = Server::with("", &["--plugin-dir", &dir]).await;
    drop_in(folder.path(), "libedition", &edition("one"));
    is_active(&server, "0.1.0").await;
    assert_eq!(answered_by(&server).await, "llmux-edition-marker-one");

    let (stop, done) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let clients: Vec<_> =
        (0..4).map(|_| tokio::spawn(load(server.api.clone(), stop.clone(), done.clone()))).collect();
    for (which, version) in [("two", "0.2.0"), ("one", "0.1.0"), ("two", "0.2.0")] {
        drop_in(folder.path(), "libedition", &edition(which));
        is_active(&server, version).await;
    }
    // Damaged: the old one serves on, and the list says why.
    let path = drop_in(folder.path(), "libedition", &edition("one")[..4000]);
    until("the damaged one is refused", async || !server.plugin("edition").await["error"].is_null()).await;
    let plugin = server.plugin("edition").await;
    assert_eq!((&plugin["state"], &plugin["version"]), (&json!("active"), &json!("0.2.0")));
    assert_eq!(answered_by(&server).await, "llmux-edition-marker-two");
    // Written in place and piece by piece, as `cp` does: it counts when it is whole.
    let whole = edition("one");
    std::fs::write(&path, &whole[..whole.len() / 2]).expect("written");
    tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    std::fs::write(&path, &whole).expect("written");
    is_active(&server, "0.1.0").await;
    assert!(server.plugin("edition").await["error"].is_null());

    stop.store(true, Ordering::Relaxed);
    for client in clients {
        client.await.expect("no request failed");
    }
    assert!(done.load(Ordering::Relaxed) > 20);

    std::fs::remove_file(&path).expect("removed");
    until("d6: an autoloaded instance goes with its file", async || server.plugin("edition").await.is_null())
        .await;
    server.signal("-TERM").await;
    let (code, log) = server.end().await;
    assert_eq!(code, Some(0), "{log}");
    let audit: Vec<_> = log.lines().filter(|line| line.contains("llmux::audit")).collect();
    let said = |words: &[&str]| audit.iter().any(|line| words.iter().all(|word| line.contains(word)));
    assert!(said(&["plugin loaded", "who=\"watcher\"", "new_version=\"0.1.0\"", "new_sha256="]), "{log}");
    assert!(
        said(&["plugin reloaded", "old_version=\"0.1.0\"", "new_version=\"0.2.0\"", "old_sha256="]),
        "{log}"
    );
    assert!(said(&["refused: ", "who=\"watcher\"", "what=\"reload\""]), "{log}");
    assert!(said(&["plugin unloaded", "who=\"watcher\""]), "{log}");
}

#[tokio::test]
async fn d6_a_configured_instance_outlives_its_file_and_says_that_it_is_missing() {
    let (folder, dir) = folder();
    let path = drop_in(folder.path(), "libedition", &edition("one"));
    let configuration =
        format!("[plugins]\ndirs = [{dir:?}]\nwatch = true\n[[plugin]]\nname = \"edition\"\n");
    let server = Server::with(&configuration, &[]).await;
    assert_eq!(server.plugin("edition").await["state"], "active");
    std::fs::remove_file(&path).expect("removed");
    until("it is missing", async || server.plugin("edition").await["file_missing"] == true).await;
    tokio::time::sleep(std::time::Duration::from_millis(700)).await;
    assert_eq!(answered_by(&server).await, "llmux-edition-marker-one");
    drop_in(folder.path(), "libedition", &edition("two"));
    is_active(&server, "0.2.0").await;
    // What no instance uses is not loaded without `autoload`.
    assert_eq!(server.plugin("edition").await["file_missing"], false);
}

#[tokio::test]
async fn a_folder_may_go_and_come_back() {
    let (parent, _) = folder();
    let dir = parent.path().join("plugins");
    std::fs::create_dir(&dir).expect("made");
    drop_in(&dir, "libedition", &edition("one"));
    let server = Server::with("", &["--plugin-dir", &dir.to_string_lossy()]).await;
    is_active(&server, "0.1.0").await;
    let elsewhere = parent.path().join("elsewhere");
    std::fs::rename(&dir, &elsewhere).expect("renamed");
    until("it is gone", async || server.plugin("edition").await.is_null()).await;
    std::fs::create_dir(&dir).expect("made");
    drop_in(&dir, "libedition", &edition("two"));
    is_active(&server, "0.2.0").await;
    // The new folder is watched, too.
    drop_in(&dir, "libedition", &edition("one"));
    is_active(&server, "0.1.0").await;
    assert!(Path::new(&elsewhere).exists());
}
