//! The process is killed during changes, at many moments, and started again in the same folder. It must start and
//! serve, and must leave no growing number of files.

use std::{
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use reqwest::Method;
use serde_json::json;
use tempfile::TempDir;

use crate::support::{LONG, Server, answered_by, drop_in, edition, http};

/// Number of kills: two in each of the first twelve changes, at different moments.
const KILLS: u32 = 24;

fn configuration(folder: &Path, priority: usize) -> String {
    format!(
        "[[provider]]\nname = \"echo\"\ntype = \"echo\"\nmodels = [\"echo\"]\n[plugins]\ndirs = [{:?}]\nwatch = true\n\
         [[plugin]]\nname = \"edition\"\npriority = {priority}\n",
        folder.join("plugins")
    )
}

/// Makes changes of every kind, one after the other, until the server is gone. `begun` counts the changes.
async fn changes(admin: String, token: String, folder: PathBuf, begun: Arc<AtomicU32>) {
    let plugins = folder.join("plugins");
    let edition_url = "/admin/plugins/edition/reload";
    for round in 0.. {
        drop_in(&plugins, "libedition", &edition(["two", "one"][round % 2]));
        std::fs::write(folder.join("llmux.toml"), configuration(&folder, round % 7)).expect("written");
        let more = json!({"path": plugins.join("libedition.so"), "name": "more"});
        for (method, path, body) in [
            (Method::POST, edition_url, json!({})),
            (Method::POST, "/admin/plugins", more),
            (Method::POST, "/admin/reload", json!({})),
            (Method::DELETE, "/admin/plugins/more", json!({})),
        ] {
            let request = http().request(method, format!("{admin}{path}")).bearer_auth(&token).json(&body);
            begun.fetch_add(1, Ordering::Relaxed);
            match request.send().await {
                Ok(answer) => assert!(answer.status().is_success(), "{path}: {}", answer.status()),
                Err(_) => return,
            }
        }
    }
}

/// Number of private copies that remain: folders, and libraries in them.
fn copies(folder: &Path) -> (usize, usize) {
    let entries = |path: &Path| std::fs::read_dir(path).expect("a folder").flatten().map(|it| it.path());
    let folders: Vec<_> = entries(folder)
        .filter(|path| {
            path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("llmux-copies-"))
        })
        .collect();
    let libraries = folders.iter().flat_map(|folder| entries(folder));
    (folders.len(), libraries.filter(|path| path.extension().is_some_and(|it| it == "so")).count())
}

async fn start(folder: TempDir) -> Server {
    // Whatever the last change left in the file, whole or cut short by the kill, is the operator's to mend.
    let configuration = configuration(folder.path(), 1);
    Server::within(folder, &configuration, &[]).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_server_starts_again_serves_and_leaves_no_copies_behind() {
    let mut folder = tempfile::tempdir().expect("a folder");
    std::fs::create_dir(folder.path().join("plugins")).expect("made");
    drop_in(&folder.path().join("plugins"), "libedition", &edition("one"));
    let mut left = 0;
    for kill in 0..KILLS {
        let mut server = start(folder).await;
        assert_eq!(server.plugin("edition").await["state"], "active", "start {kill}");
        let answered = answered_by(&server).await;
        assert!(answered.as_str().is_some_and(|it| it.starts_with("llmux-edition-marker-")), "{answered}");
        // The copy of the loaded library, whose name debuggers need, and nothing of the server before.
        assert_eq!(copies(server.folder.path()), (1, 1), "start {kill}");
        let token = std::fs::read_to_string(server.token_file()).expect("a token");
        let begun = Arc::new(AtomicU32::new(0));
        let folder_of_it = server.folder.path().to_owned();
        let changing = tokio::spawn(changes(server.admin.clone(), token, folder_of_it, begun.clone()));
        while begun.load(Ordering::Relaxed) <= kill / 2 {
            assert!(!changing.is_finished(), "start {kill}: a change failed before the kill");
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        // A reload takes some milliseconds: at its begin, and somewhere in it.
        tokio::time::sleep(Duration::from_millis(u64::from(kill % 2 * kill))).await;
        server.signal("-KILL").await;
        tokio::time::timeout(LONG, server.child.wait()).await.expect("in time").expect("it ends");
        changing.await.expect("every change that was answered was made");
        left += copies(server.folder.path()).0;
        folder = server.folder;
    }
    assert!(left > 0, "no kill left a folder behind, so nothing was cleaned up");
    let server = start(folder).await;
    server.signal("-TERM").await;
    // Its folder goes with the server, and its copies before it.
    let path = server.folder.path().to_owned();
    let mut server = server;
    let status = tokio::time::timeout(LONG, server.child.wait()).await.expect("in time").expect("it ends");
    assert!(status.success());
    assert_eq!(copies(&path), (0, 0), "a server that ends leaves none");
}
