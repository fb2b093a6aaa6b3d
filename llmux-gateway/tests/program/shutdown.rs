//! Shutdown of the program: requests finish, plugins are cleaned up, and a second signal ends the process at once.

use llmux_testing::{ScriptedResponse, ScriptedServer};
use serde_json::json;

use crate::support::{Server, error, http, send, until};

/// A stream of 40 chunks that takes a second.
const SLOW: &str =
    "[[provider]]\nname = \"slow\"\ntype = \"echo\"\nmodels = [\"slow\"]\nchunk_delay = \"25ms\"\n";

async fn begin_stream(server: &Server) -> reqwest::Response {
    let words = "word ".repeat(40);
    let body = json!({"model": "slow", "stream": true, "messages": [{"role": "user", "content": words}]});
    let mut response = send(server.post("/v1/chat/completions", &body)).await;
    response.chunk().await.expect("a chunk").expect("not the end");
    response
}

#[tokio::test]
async fn l3_a_stream_under_way_ends_before_the_program_does() {
    let server = Server::with(SLOW, &[]).await;
    let response = begin_stream(&server).await;
    server.signal("-TERM").await;
    let rest = response.text().await.expect("the rest");
    assert!(rest.ends_with("data: [DONE]\n\n"), "{rest}");
    let (code, log) = server.end().await;
    assert_eq!(code, Some(0), "{log}");
    assert!(log.contains("all requests have ended"), "{log}");
}

#[tokio::test]
async fn l3_the_drain_is_bounded() {
    let configuration = format!("[server]\ndrain_timeout = \"100ms\"\n{SLOW}");
    let upstream = ScriptedServer::start([ScriptedResponse::hang()]).await;
    let silent = format!(
        "[[provider]]\nname = \"up\"\ntype = \"openai\"\nbase_url = \"{}\"\nmodels = [\"silent\"]\n",
        upstream.base_url()
    );
    let server = Server::with(&format!("{configuration}{silent}"), &[]).await;
    let stream = begin_stream(&server).await;
    let streamed = stream.headers()["x-request-id"].to_str().expect("text").to_owned();
    let plain =
        tokio::spawn(error(server.post("/v1/chat/completions", &json!({"model": "silent", "messages": []}))));
    until("the provider has the request", async || upstream.requests().len() == 1).await;
    server.signal("-TERM").await;
    let rest = stream.text().await.expect("a proper end");
    let (_, last) = rest.trim_end().rsplit_once("data: ").expect("an event");
    assert!(last.contains("\"shutting_down\""), "a stream ends with an error event: {rest}");
    let (status, refused) = plain.await.expect("no panic");
    assert_eq!((status, &refused["code"]), (503, &json!("shutting_down")));
    let (code, log) = server.end().await;
    assert_eq!(code, Some(0), "{log}");
    let line = log.lines().find(|line| line.contains("requests did not end within 100ms, and were cut"));
    let line = line.unwrap_or_else(|| panic!("{log}"));
    assert!(line.contains("requests=2") && line.contains(&streamed), "{line}");
    assert!(!log.contains("all requests have ended"), "{log}");
}

#[tokio::test]
async fn a_host_that_leaves_is_not_ready_and_says_so_for_as_long_as_it_is_told() {
    let server = Server::with("[server]\nshutdown_delay = \"10s\"", &[]).await;
    server.signal("-TERM").await;
    let url = format!("{}/readyz", server.api);
    while send(http().get(&url)).await.status() == 200 {}
    assert_eq!(error(http().get(&url)).await.0, 503);
    server.signal("-INT").await;
    let (code, log) = server.end().await;
    assert_eq!(code, Some(1), "{log}");
    assert!(log.contains("llmux: SIGINT again: "), "{log}");
}

#[tokio::test]
async fn an_idle_connection_does_not_hold_the_program_back() {
    let server = Server::start().await;
    let _silent = server.connect().await;
    let mut idle = server.connect().await;
    tokio::io::AsyncWriteExt::write_all(&mut idle, b"GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n")
        .await
        .expect("sent");
    tokio::io::AsyncReadExt::read(&mut idle, &mut [0; 1024]).await.expect("read");
    let started = std::time::Instant::now();
    server.signal("-TERM").await;
    assert_eq!(server.end().await.0, Some(0));
    assert!(started.elapsed() < std::time::Duration::from_secs(5));
}
