//! Concurrent changes: each gets an answer, they happen one after the other, and no request fails.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicU64, Ordering},
};

use reqwest::Method;
use serde_json::{Value, json};
use tokio::task::JoinHandle;

use crate::support::{Server, answered_by, edition, http, read, until};

/// Starts a server, and writes the library `edition` into its folder.
async fn server() -> Server {
    let server = Server::with(&configuration(7), &[]).await;
    std::fs::write(server.folder.path().join("libedition.so"), edition("one")).expect("written");
    server
}

/// Returns a configuration without plugins, whose `pre_hook_timeout` is the priority in seconds.
fn configuration(priority: i32) -> String {
    format!(
        "[[provider]]\nname = \"echo\"\ntype = \"echo\"\nmodels = [\"echo\"]\n[pipeline]\npre_hook_timeout = \"{priority}s\"\n"
    )
}

/// Returns a configuration with `edition` at a priority. The library's file must exist.
fn with_plugin(priority: i32) -> String {
    format!(
        "{}[[plugin]]\nname = \"edition\"\npath = \"libedition.so\"\npriority = {priority}\n",
        configuration(7)
    )
}

/// Sends requests one after the other, none of which may fail. Returns the number of requests.
struct Load {
    stop: Arc<AtomicBool>,
    done: Arc<AtomicU64>,
    clients: Vec<JoinHandle<()>>,
}

impl Load {
    fn on(server: &Server) -> Self {
        let (stop, done) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let client = |streams: bool| {
            let (url, stop, done) =
                (format!("{}/v1/chat/completions", server.api), stop.clone(), done.clone());
            let body =
                json!({"model": "echo", "stream": streams, "messages": [{"role": "user", "content": "a b"}]});
            tokio::spawn(async move {
                while !stop.load(Ordering::Relaxed) {
                    let response = http().post(&url).json(&body).send().await.expect("an answer");
                    assert_eq!(response.status(), 200);
                    let text = response.text().await.expect("the whole answer");
                    assert_eq!(text.ends_with("data: [DONE]\n\n"), streams, "{text}");
                    done.fetch_add(1, Ordering::Relaxed);
                }
            })
        };
        let clients = vec![client(false), client(true)];
        Self { stop, done, clients }
    }

    async fn end(self) {
        let seen = self.done.load(Ordering::Relaxed);
        until("requests are answered to the end", async || self.done.load(Ordering::Relaxed) > seen + 4)
            .await;
        self.stop.store(true, Ordering::Relaxed);
        for client in self.clients {
            client.await.expect("no request failed");
        }
    }
}

async fn load(server: &Server) {
    let path = server.folder.path().join("libedition.so");
    let (status, info) =
        read(server.admin(Method::POST, "/admin/plugins").json(&json!({"path": path}))).await;
    assert_eq!(status, 201, "{info}");
}

async fn reload(server: &Server) -> (u16, Value) {
    read(server.admin(Method::POST, "/admin/plugins/edition/reload")).await
}

#[tokio::test(flavor = "multi_thread")]
async fn reloads_of_one_plugin_at_once_happen_one_after_the_other() {
    let server = server().await;
    load(&server).await;
    let requests = Load::on(&server);
    for round in 0..10 {
        let (one, two, three) = tokio::join!(reload(&server), reload(&server), reload(&server));
        for (status, info) in [one, two, three] {
            assert_eq!(status, 200, "round {round}: {info}");
        }
        let plugin = server.plugin("edition").await;
        assert_eq!(
            (&plugin["generation"], &plugin["state"]),
            (&json!(1 + 3 * (round + 1)), &json!("active"))
        );
    }
    assert_eq!(answered_by(&server).await, "llmux-edition-marker-one");
    requests.end().await;
    until("30 images are retired, and no instance is left draining", async || {
        let (_, list) = read(server.admin(Method::GET, "/admin/plugins")).await;
        list["retired"]["count"] == 30 && list["plugins"].as_array().is_some_and(|plugins| plugins.len() == 1)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reload_and_an_unload_at_once_are_both_answered_and_the_plugin_is_gone() {
    let server = server().await;
    let requests = Load::on(&server);
    for round in 0..15 {
        load(&server).await;
        let unload = read(server.admin(Method::DELETE, "/admin/plugins/edition"));
        let ((reloaded, said), (unloaded, _)) = match round % 2 {
            0 => tokio::join!(reload(&server), unload),
            _ => {
                let (unloaded, reloaded) = tokio::join!(unload, reload(&server));
                (reloaded, unloaded)
            }
        };
        // Whichever came first: a reload finds the plugin, or says that it is gone.
        assert_eq!(unloaded, 204, "round {round}");
        assert!(matches!(reloaded, 200 | 404), "round {round}: {reloaded} {said}");
        assert_eq!(server.plugin("edition").await, Value::Null, "round {round}");
        assert_eq!(answered_by(&server).await, Value::Null, "round {round}");
    }
    requests.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reload_of_a_plugin_and_of_the_configuration_at_once_both_take_effect() {
    let server = server().await;
    let file = server.folder.path().join("llmux.toml");
    std::fs::write(&file, with_plugin(1)).expect("written");
    assert_eq!(read(server.admin(Method::POST, "/admin/reload")).await.0, 200);
    let requests = Load::on(&server);
    for round in 2..12 {
        std::fs::write(&file, with_plugin(round)).expect("written");
        let ((), (status, info)) = tokio::join!(server.signal("-HUP"), reload(&server));
        assert_eq!((status, &info["generation"]), (200, &json!(round)), "{info}");
        until(&format!("priority {round} is taken over"), async || {
            let plugin = server.plugin("edition").await;
            plugin["priority"] == round && plugin["generation"] == round
        })
        .await;
    }
    requests.end().await;
    server.signal("-TERM").await;
    let (code, log) = server.end().await;
    assert_eq!(code, Some(0), "{log}");
    assert!(!log.contains("refused"), "{log}");
}
