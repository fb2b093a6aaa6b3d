//! Concurrent changes from every source, under load: the folder watcher, the signal, a reload of the configuration
//! and single commands. No request fails, and the final state is the state that was requested last.

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use llmux_testing::program::with_provider;
use reqwest::Method;
use serde_json::{Value, json};

use crate::{
    folders::{is_active, load},
    support::{Server, answered_by, drop_in, edition, read, system_prompt, until},
};

const ROUNDS: usize = 12;

fn configuration(folder: &Path, priority: usize) -> String {
    format!(
        "[plugins]\ndirs = [{folder:?}]\nwatch = true\nautoload = true\n[[plugin]]\nname = \"prompt\"\n\
         path = \"{}\"\npriority = {priority}\nconfig = {{ prompt = \"{priority}\" }}\n",
        system_prompt()
    )
}

/// Replaces the configuration in one step, so that a reader never sees a part of it.
fn configure(server: &Server, text: &str) {
    let new = server.folder.path().join(format!("{}.new", another()));
    std::fs::write(&new, with_provider(text)).expect("written");
    std::fs::rename(new, server.folder.path().join("llmux.toml")).expect("renamed");
}

/// Returns a different number on each call.
fn another() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

async fn change(server: &Server, method: Method, path: &str, body: Value) {
    let (status, answer) = read(server.admin(method, path).json(&body)).await;
    assert_eq!(status, 200, "{path}: {answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_from_every_side_at_once_fail_no_request_and_end_as_was_asked_last() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path();
    drop_in(path, "libedition", &edition("one"));
    let server = Server::with(&configuration(path, 0), &[]).await;
    is_active(&server, "0.1.0").await;
    let (stop, done) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let clients: Vec<_> =
        (0..3).map(|_| tokio::spawn(load(server.api.clone(), stop.clone(), done.clone()))).collect();
    let watcher = async {
        for round in 0..ROUNDS {
            let version = ["two", "one"][round % 2];
            drop_in(path, "libedition", &edition(version));
            is_active(&server, ["0.2.0", "0.1.0"][round % 2]).await;
        }
    };
    let signal = async {
        for round in 0..ROUNDS {
            configure(&server, &configuration(path, 100 + round));
            server.signal("-HUP").await;
        }
    };
    let reload = async {
        for round in 0..ROUNDS {
            configure(&server, &configuration(path, 200 + round));
            change(&server, Method::POST, "/admin/reload", json!({})).await;
        }
    };
    let prompt = async {
        for round in 0..ROUNDS {
            change(&server, Method::POST, "/admin/plugins/prompt/disable", json!({})).await;
            change(&server, Method::POST, "/admin/plugins/prompt/reload", json!({})).await;
            change(&server, Method::PATCH, "/admin/plugins/prompt", json!({"priority": round})).await;
            change(&server, Method::POST, "/admin/plugins/prompt/enable", json!({})).await;
        }
    };
    let order = async {
        for round in 0..ROUNDS {
            let priority = [-50, 50][round % 2];
            change(&server, Method::PATCH, "/admin/plugins/edition", json!({"priority": priority})).await;
            change(&server, Method::POST, "/admin/plugins/edition/reload", json!({})).await;
        }
    };
    tokio::join!(watcher, signal, reload, prompt, order);

    configure(&server, &configuration(path, 7));
    change(&server, Method::POST, "/admin/reload", json!({})).await;
    let asked = done.load(Ordering::Relaxed);
    until("requests go on", async || done.load(Ordering::Relaxed) > asked + 6).await;
    stop.store(true, Ordering::Relaxed);
    for client in clients {
        client.await.expect("no request failed");
    }
    until("what was replaced has gone, and two instances are there", async || {
        let (_, list) = read(server.admin(Method::GET, "/admin/plugins")).await;
        list["plugins"]
            .as_array()
            .is_some_and(|all| all.len() == 2 && all.iter().all(|it| it["state"] == "active"))
    })
    .await;
    assert_eq!(server.plugin("prompt").await["priority"], 7);
    assert_eq!(server.upstream_body().await["messages"][0]["content"], "7");
    assert_eq!(answered_by(&server).await, "llmux-edition-marker-one", "what was dropped in last");
    server.signal("-TERM").await;
    let (code, log) = server.end().await;
    assert_eq!(code, Some(0), "{log}");
    assert!(!log.contains("refused") && !log.contains("panicked"), "{log}");
}
