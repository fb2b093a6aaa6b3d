//! Requests that are sent again, and requests that are not (rule F1), from a client to a real socket.

use std::{sync::Arc, time::Duration};

use llmux_core::{Client, Error, ErrorKind, client::RetryConfig, provider::OpenAi};
use llmux_testing::{ScriptedResponse, ScriptedServer};
use serde_json::json;

use crate::OK;

/// A client of one deployment, which retries twice after a short delay.
async fn client(upstream: &ScriptedServer, sent: bool) -> Client {
    let limit = Duration::from_millis(200);
    let provider = OpenAi::builder("here", upstream.base_url()).timeout(limit).build().unwrap();
    let retry = RetryConfig::default().with_initial_backoff(Duration::from_millis(1)).with_sent(sent);
    Client::builder().provider("here", Arc::new(provider), ["m"]).retry(retry).build().await.unwrap()
}

async fn ask(client: &Client) -> Result<(), Error> {
    client.chat(&json!({"model": "m", "messages": []})).await.map(drop)
}

#[tokio::test]
async fn f1_only_what_was_certainly_not_processed_is_sent_again() {
    let error = |status| ScriptedResponse::json(status, r#"{"error":{"message":"m"}}"#);
    let cut = || ScriptedResponse::json(200, "{").header("content-length", "100").then_close();
    // Row, answer, requests, requests with `[retry] sent = true`.
    let rows = [
        ("a timeout after sending", ScriptedResponse::hang(), 1, 3),
        ("a new connection that closes", ScriptedResponse::raw(""), 1, 3),
        ("an answer that is no HTTP", ScriptedResponse::raw("what?\r\n\r\n"), 1, 3),
        ("an answer that breaks off", cut(), 1, 3),
        ("an answer that stops", cut_off_later(), 1, 3),
        ("an answer that is no JSON", ScriptedResponse::json(200, "<html>"), 1, 1),
        ("an empty answer", ScriptedResponse::json(200, ""), 1, 1),
        ("an array", ScriptedResponse::json(200, "[1]"), 1, 1),
        ("a redirect", error(302), 1, 1),
        ("an unknown compression", ScriptedResponse::json(200, OK).header("content-encoding", "x"), 1, 1),
        ("an error with status 200", ScriptedResponse::json(200, r#"{"error":"m"}"#), 3, 3),
        ("429", error(429), 3, 3),
        ("503", error(503), 3, 3),
        ("400", error(400), 1, 1),
        ("401", error(401), 1, 1),
    ];
    for (row, answer, requests, with_sent) in rows {
        for (sent, expected) in [(false, requests), (true, with_sent)] {
            let upstream = ScriptedServer::start(vec![answer.clone(); 4]).await;
            ask(&client(&upstream, sent).await).await.expect_err(row);
            assert_eq!(upstream.requests().len(), expected, "{row}, sent = {sent}");
        }
    }
}

fn cut_off_later() -> ScriptedResponse {
    ScriptedResponse::json(200, "{").header("content-length", "100").then_hang()
}

#[tokio::test]
async fn f1_a_kept_connection_that_closes_is_replaced_once() {
    let upstream = ScriptedServer::start([
        ScriptedResponse::json(200, OK),
        // The connection has served a request, and closes without a byte.
        ScriptedResponse::raw(""),
        ScriptedResponse::json(200, OK),
        ScriptedResponse::raw(""),
        ScriptedResponse::raw(""),
        ScriptedResponse::json(200, OK),
    ])
    .await;
    let client = client(&upstream, false).await;
    ask(&client).await.unwrap();
    ask(&client).await.unwrap();
    assert_eq!((upstream.requests().len(), upstream.connections()), (3, 2));
    let error = ask(&client).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::BadGateway);
    assert_eq!((upstream.requests().len(), upstream.connections()), (5, 3), "a new connection that closes");
}

#[tokio::test]
async fn f1_a_kept_connection_that_closes_in_an_answer_is_not_replaced() {
    let upstream = ScriptedServer::start([
        ScriptedResponse::json(200, OK),
        ScriptedResponse::raw("HTTP/1."),
        ScriptedResponse::json(200, OK),
    ])
    .await;
    let client = client(&upstream, false).await;
    ask(&client).await.unwrap();
    ask(&client).await.unwrap_err();
    assert_eq!(upstream.requests().len(), 2);
}

#[tokio::test]
async fn f1_no_connection_is_tried_again_and_uses_no_request() {
    // A port that was bound and released, so that no process listens on it.
    let address = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let provider = OpenAi::builder("here", format!("http://{address}/v1")).build().unwrap();
    let retry = RetryConfig::default().with_initial_backoff(Duration::from_millis(100));
    let client =
        Client::builder().provider("here", Arc::new(provider), ["m"]).retry(retry).build().await.unwrap();
    let asked = tokio::spawn(async move { ask(&client).await });
    let listener = tokio::net::TcpListener::bind(address).await.unwrap();
    let accepted = tokio::time::timeout(Duration::from_secs(10), listener.accept()).await;
    accepted.expect("the second or third try").unwrap();
    asked.abort();
}
