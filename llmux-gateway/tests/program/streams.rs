//! Streams: the framing of events, the end of streams, and clients that disconnect.

use std::time::Duration;

use llmux_testing::{ScriptedResponse, ScriptedServer};
use serde_json::json;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    time::timeout,
};

use crate::support::{LONG, Server, error, send};

/// Returns the configuration of a scripted upstream.
fn provider(upstream: &ScriptedServer) -> String {
    format!(
        "[server]\nkeep_alive = \"100ms\"\n[[provider]]\nname = \"up\"\ntype = \"openai\"\nbase_url = \"{}\"\nmodels = [\"m\"]\n[retry]\nmax_retries = 0\n",
        upstream.base_url()
    )
}

async fn stream(server: &Server, path: &str) -> String {
    let response = send(server.post(path, &json!({"model": "m", "stream": true, "messages": []}))).await;
    assert_eq!(response.status(), 200);
    assert_eq!(response.headers()["content-type"], "text/event-stream; charset=utf-8");
    response.text().await.expect("the whole stream")
}

#[tokio::test]
async fn s3_untouched_data_passes_byte_for_byte_and_framing_is_normalized() {
    let upstream = ScriptedServer::start([ScriptedResponse::sse([
        ": hello\r\n\r\ndata:{\"a\" : 1}\r\n\r\n",
        "event: named\ndata: {\"b\":\ndata: 2}\n\n",
        "data: [DONE]\n\n",
    ])])
    .await;
    let server = Server::with(&provider(&upstream), &[]).await;
    let text = stream(&server, "/v1/chat/completions").await;
    assert_eq!(text, "data: {\"a\" : 1}\n\nevent: named\ndata: {\"b\":\ndata: 2}\n\ndata: [DONE]\n\n");
}

#[tokio::test]
async fn s7_a_stream_that_breaks_off_ends_with_an_error_and_without_done() {
    let broken =
        || ScriptedResponse::sse(["data: {\"a\":1}\n\n"]).then_pause(Duration::from_millis(50)).then_close();
    let upstream = ScriptedServer::start([broken(), broken()]).await;
    let server = Server::with(&provider(&upstream), &[]).await;
    let text = stream(&server, "/v1/chat/completions").await;
    let error = text.strip_prefix("data: {\"a\":1}\n\ndata: {\"error\":").expect(&text);
    assert!(error.ends_with("}\n\n") && !text.contains("[DONE]"), "{text}");
    let text = stream(&server, "/v1/responses").await;
    assert!(text.contains("\n\nevent: error\ndata: {\""), "{text}");
    assert!(text.contains("\n\nevent: response.failed\ndata: {\""), "{text}");
}

#[tokio::test]
async fn s7_a_failed_responses_stream_ends_with_response_failed() {
    let created = r#"data: {"type":"response.created","sequence_number":0,"response":{"id":"resp_1","object":"response","model":"x","status":"in_progress","error":null}}"#;
    let broken = ScriptedResponse::sse([format!("event: response.created\n{created}\n\n")]);
    let broken = broken.then_pause(Duration::from_millis(50)).then_close();
    let upstream = ScriptedServer::start([broken]).await;
    let server = Server::with(&provider(&upstream), &[]).await;
    let text = stream(&server, "/v1/responses").await;
    let last = |back: usize| {
        let data = text.lines().filter_map(|line| line.strip_prefix("data: ")).rev().nth(back).expect(&text);
        serde_json::from_str::<serde_json::Value>(data).expect(&text)
    };
    let (error, failed) = (last(1), last(0));
    assert_eq!((&error["type"], &error["sequence_number"]), (&json!("error"), &json!(1)));
    assert_eq!((&failed["type"], &failed["sequence_number"]), (&json!("response.failed"), &json!(1)));
    let response = &failed["response"];
    let created = last(2);
    assert_eq!((&response["id"], &response["model"]), (&created["response"]["id"], &json!("x")));
    assert_eq!((&response["status"], &response["error"]["message"]), (&json!("failed"), &error["message"]));
}

#[tokio::test]
async fn s7_a_provider_that_is_silent_after_its_head_gives_the_client_a_head_and_comments() {
    let upstream = ScriptedServer::start([ScriptedResponse::sse([": thinking\n\n"]).then_hang()]).await;
    let server = Server::with(&provider(&upstream), &[]).await;
    let mut response =
        send(server.post("/v1/chat/completions", &json!({"model": "m", "stream": true}))).await;
    assert_eq!(response.status(), 200);
    assert_eq!(response.headers()["content-type"], "text/event-stream; charset=utf-8");
    let first = timeout(LONG, response.chunk()).await.expect("in time").expect("read").expect("a comment");
    assert_eq!(first, ": keep-alive\n\n");
}

#[tokio::test]
async fn s7_an_error_before_the_first_chunk_is_an_answer_of_its_own() {
    let refusal = r#"{"error": {"message": "no", "type": "t", "param": null, "code": "c", "more": 1}}"#;
    let upstream = ScriptedServer::start([ScriptedResponse::json(403, refusal)]).await;
    let server = Server::with(&provider(&upstream), &[]).await;
    let request = server.post("/v1/chat/completions", &json!({"model": "m", "stream": true}));
    let (status, error) = error(request).await;
    assert_eq!((status, &error["code"], &error["more"]), (403, &json!("c"), &json!(1)));
}

#[tokio::test]
async fn a_silent_stream_is_kept_open_by_comments_and_closed_upstream_when_its_client_leaves() {
    let upstream = ScriptedServer::start([ScriptedResponse::sse(["data: {\"a\":1}\n\n"]).then_hang()]).await;
    let server = Server::with(&provider(&upstream), &[]).await;
    let body = r#"{"model":"m","stream":true}"#;
    let mut client = server.connect().await;
    let head = format!(
        "POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    client.write_all((head + body).as_bytes()).await.expect("sent");
    let mut text = String::new();
    while text.matches(": keep-alive\n\n").count() < 2 {
        let mut piece = [0; 1024];
        let count = timeout(LONG, client.read(&mut piece)).await.expect("in time").expect("read");
        assert!(count > 0, "{text}");
        text += &String::from_utf8_lossy(&piece[..count]);
    }
    drop(client);
    timeout(Duration::from_secs(1), upstream.closed()).await.expect("closed within a second");
}
