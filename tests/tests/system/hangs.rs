//! A plugin that blocks a thread of the program: the program still answers other requests.

use llmux_testing::{Server, program::until};
use llmux_tests::Fixtures;
use serde_json::{Value, json};

use crate::configuration;

#[tokio::test(flavor = "multi_thread")]
async fn d5_l3_a_hook_that_holds_a_thread_holds_up_neither_commands_nor_the_end() {
    let folder = tempfile::tempdir().expect("a folder");
    let (gate, log) = (folder.path().join("gate"), folder.path().join("lines"));
    let config = json!({"log": log, "pre": [{"do": "block_until", "path": gate}]});
    let server = Server::with(&configuration("[plugins]\ndrain_timeout = \"100ms\"\n"), &[]).await;
    let load = async |name: &str| {
        let body = json!({"path": Fixtures::get().probe(), "name": name, "config": config});
        let (status, said) = server.call("POST", "/admin/plugins", Some(&body)).await;
        assert_eq!(status, 201, "{said}");
    };
    let hook_runs = async |name: &str| {
        let line = format!("{name}.pre\n");
        until("the hook runs", async || std::fs::read_to_string(&log).unwrap_or_default().contains(&line))
            .await;
    };
    load("first").await;
    // The request hangs in the hook; its answer is not waited for.
    let body = json!({"model": "echo", "messages": [{"role": "user", "content": "Hello"}]});
    let hanging = tokio::spawn(server.post("/v1/chat/completions", &body).send());
    hook_runs("first").await;
    let (status, said) = server.call("DELETE", "/admin/plugins/first", None).await;
    assert_eq!((status, &said), (202, &json!({"state": "draining"})));
    let (_, list) = server.call("GET", "/admin/plugins", None).await;
    let states: Vec<(&Value, &Value)> =
        list["plugins"].as_array().expect("a list").iter().map(|it| (&it["name"], &it["state"])).collect();
    assert_eq!(states, [(&json!("first"), &json!("draining"))]);
    let ended = server.stop().await;
    assert!(ended.contains("some requests had not ended"), "{ended}");
    assert!(ended.contains("instance=\"first\""), "it is reported: {ended}");
    hanging.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn d5_a_cleanup_that_holds_its_thread_is_shown() {
    let folder = tempfile::tempdir().expect("a folder");
    let (gate, log) = (folder.path().join("gate"), folder.path().join("lines"));
    let config = json!({"log": log, "cleanup": [{"do": "block_until", "path": gate}]});
    let bounds = "[pipeline]\npost_hook_timeout = \"100ms\"\n[plugins]\ndrain_timeout = \"100ms\"\n";
    let server = Server::with(&configuration(bounds), &[]).await;
    let body = json!({"path": Fixtures::get().probe(), "name": "a", "config": config});
    assert_eq!(server.call("POST", "/admin/plugins", Some(&body)).await.0, 201);
    assert_eq!(server.call("DELETE", "/admin/plugins/a", None).await.0, 202, "it does not end in time");
    until("the instance is stuck", async || server.plugin("a").await["state"] == "stuck").await;
    assert_eq!(server.ask("echo").await["choices"][0]["message"]["content"], "Hello", "requests go on");
    std::fs::write(&gate, "").expect("the gate opens");
    until("it is gone", async || server.plugin("a").await.is_null()).await;
    server.stop().await;
}
