//! Plugins in C and C++ in a running `llmux`: they serve while they are reloaded, and an exception that leaves a hook ends the
//! process.

use std::path::Path;

use futures_util::future::{join, join_all};
use llmux_testing::{ScriptedResponse, ScriptedServer, Server};
use llmux_tests::native;
use serde_json::{Value, json};

use crate::{CONFIGURATION, answer, chat, client, rest};

/// Number of reloads of each plugin.
const RELOADS: u64 = 5;

async fn load(server: &Server, library: &Path, config: Value) {
    let body = json!({"path": library, "config": config});
    let (status, said) = server.call("POST", "/admin/plugins", Some(&body)).await;
    assert_eq!(status, 201, "{said}");
}

#[tokio::test]
async fn plugins_in_c_and_cpp_serve_while_they_are_reloaded() {
    let service = ScriptedServer::start(vec![ScriptedResponse::json(200, "{}"); 1_000]).await;
    let server = Server::with(CONFIGURATION, &[]).await;
    load(&server, &native::c_guard(), json!({"url": service.base_url()})).await;
    load(&server, &native::cpp_lines(), json!({})).await;
    let client = client(&server);

    let streams = join_all((0..10).map(async |_| {
        for _ in 0..10 {
            let stream = client.chat().create_stream(chat("echo", "one\ntwo three")).await;
            assert_eq!(rest(&mut stream.expect("a stream")).await, "1: one\n2: two three");
            let sent = answer(&client, "echo-request", "Hello").await;
            let sent: Value = serde_json::from_str(&sent).expect("the request as the provider gets it");
            assert_eq!(sent["store"], false, "{sent}");
        }
    }));
    let reloads = async {
        for _ in 0..RELOADS {
            for name in ["c-guard", "cpp-lines"] {
                let (status, said) =
                    server.call("POST", &format!("/admin/plugins/{name}/reload"), None).await;
                assert_eq!(status, 200, "{said}");
            }
        }
    };
    join(streams, reloads).await;

    for name in ["c-guard", "cpp-lines"] {
        let info = server.plugin(name).await;
        assert_eq!(info["generation"], RELOADS + 1, "{info}");
        let hooks = info["hooks"].as_array().expect("hooks");
        assert!(hooks.iter().all(|hook| hook["failures"].as_u64().unwrap_or(0) == 0), "{info}");
        // The guard fails closed, so that its removal needs a word.
        let body = json!({"force": true});
        let (status, said) = server.call("DELETE", &format!("/admin/plugins/{name}"), Some(&body)).await;
        assert_eq!(status, 204, "{said}");
    }
    assert_eq!(service.requests().len(), 200, "each request was asked about once");
    assert_eq!(answer(&client, "echo", "one\ntwo").await, "one\ntwo", "both are gone");
    server.stop().await;
}

/// Sends a request to a server with the plugin that throws, and returns the log of the process, which a signal ended.
async fn log_after(stream: bool) -> String {
    let server = Server::with(CONFIGURATION, &[]).await;
    load(&server, &native::throws(), json!({})).await;
    let body = json!({"model": "echo", "stream": stream, "messages": [{"role": "user", "content": "Hello"}]});
    let answered = server.post("/v1/chat/completions", &body).send().await;
    assert!(answered.is_err(), "the connection ends without an answer: {answered:?}");
    let (code, log) = server.end().await;
    assert_eq!(code, None, "a signal ended the process: {log}");
    log
}

#[tokio::test]
async fn an_exception_that_leaves_a_hook_in_cpp_ends_the_process() {
    let log = log_after(false).await;
    assert!(log.contains("Rust cannot catch foreign exceptions, aborting"), "{log}");
}

#[tokio::test]
async fn an_exception_in_a_noexcept_hook_ends_the_process_which_names_the_instance() {
    let log = log_after(true).await;
    for line in ["what():  nothing catches this", "llmux: SIGABRT in the code of the instance `throws`"] {
        assert!(log.contains(line), "the log says {line}: {log}");
    }
}
