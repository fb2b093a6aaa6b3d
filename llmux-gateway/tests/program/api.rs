//! The main listener: every endpoint, and bad input of every kind.

use llmux_testing::{ScriptedResponse, ScriptedServer};
use reqwest::{Method, header};
use serde_json::json;

use crate::{
    authors::stumble,
    support::{Server, error, http, read, send},
};

const CHAT: &str = "/v1/chat/completions";

#[tokio::test]
async fn every_endpoint_answers() {
    let server = Server::start().await;
    let hello = json!([{"role": "user", "content": "Hello"}]);
    let (status, chat) = read(server.post(CHAT, &json!({"model": "echo", "messages": hello}))).await;
    assert_eq!((status, &chat["choices"][0]["message"]["content"]), (200, &json!("Hello")));
    let (status, text) =
        read(server.post("/v1/completions", &json!({"model": "echo", "prompt": "Hi"}))).await;
    assert_eq!((status, &text["choices"][0]["text"]), (200, &json!("Hi")));
    let (status, list) = read(server.post("/v1/embeddings", &json!({"model": "echo", "input": "Hi"}))).await;
    assert_eq!((status, &list["object"]), (200, &json!("list")));
    let (status, answer) = read(server.post("/v1/responses", &json!({"model": "echo", "input": "Hi"}))).await;
    assert_eq!((status, &answer["object"]), (200, &json!("response")));

    let (status, judged) =
        read(server.post("/v1/moderations", &json!({"model": "echo", "input": "Hi"}))).await;
    assert_eq!((status, &judged["results"][0]["flagged"]), (200, &json!(false)));
    let body = json!({"model": "echo", "prompt": "A cat", "n": 2});
    let (status, images) = read(server.post("/v1/images/generations", &body)).await;
    assert_eq!((status, images["data"].as_array().map(Vec::len)), (200, Some(2)));
    let body = json!({"model": "echo", "query": "a", "documents": ["a", "b"], "top_n": 1});
    let (status, ranking) = read(server.post("/v1/rerank", &body)).await;
    assert_eq!((status, &ranking["results"]), (200, &json!([{"index": 0, "relevance_score": 1.0}])));
    let body = json!({"model": "echo", "input": "Hi", "voice": "alloy"});
    let speech = send(server.post("/v1/audio/speech", &body)).await;
    assert_eq!(speech.headers()["content-type"], "application/octet-stream");
    assert_eq!(speech.headers()["content-length"], "2");
    assert_eq!(speech.bytes().await.expect("bytes"), "Hi");

    let (status, models) = read(server.get("/v1/models")).await;
    assert_eq!((status, &models["object"], &models["data"][0]["id"]), (200, &json!("list"), &json!("echo")));
    let (status, model) = read(server.get("/v1/models/echo-error-529")).await;
    assert_eq!((status, &model["object"]), (200, &json!("model")));
    assert_eq!(read(server.get("/healthz")).await.0, 200);
    assert_eq!(read(server.get("/readyz")).await.0, 200);
    let metrics = send(server.get("/metrics")).await.text().await.expect("text");
    assert!(metrics.contains("llmux_retired_images 0"), "{metrics}");
}

#[tokio::test]
async fn a_wrong_body_is_refused_and_says_why() {
    let server = Server::start().await;
    let post = |body: &'static str| {
        http().post(format!("{}{CHAT}", server.api)).header("content-type", "application/json").body(body)
    };
    let (status, wrong) = error(post("{\"model\": \"echo\",\n  oops}")).await;
    assert_eq!((status, &wrong["code"]), (400, &json!("invalid_json")));
    let message = wrong["message"].as_str().expect("text");
    assert!(message.contains("line 2, column 3"), "{message}");
    for body in ["", "[]", "{}", r#"{"model": 5}"#, r#"{"model": "echo", "stream": "yes"}"#] {
        assert_eq!(error(post(body)).await.0, 400, "{body}");
    }
    let (status, unknown) = error(post(r#"{"model": "nobody", "messages": []}"#)).await;
    assert_eq!((status, &unknown["code"]), (404, &json!("model_not_found")));
    let form = post("model=echo").header("content-type", "application/x-www-form-urlencoded");
    assert_eq!(error(form).await.0, 415, "the last header does not count alone");
    let bare = http().post(format!("{}{CHAT}", server.api)).body(r#"{"model": "echo", "messages": []}"#);
    assert_eq!(read(bare).await.0, 200, "a body of no type is taken for JSON");
}

#[tokio::test]
async fn an_unknown_path_and_a_wrong_method_are_refused() {
    let server = Server::start().await;
    for path in ["/", "/v1", "/v1/nothing", "/v1/models/nobody", "/admin/plugins"] {
        assert_eq!(error(server.get(path)).await.0, 404, "{path}");
    }
    // A base URL that is slightly wrong.
    let hello = json!({"model": "echo", "messages": []});
    for path in
        ["/chat/completions", "/v1/chat/completions/", "/v1/v1/chat/completions", "//v1/chat/completions?a=b"]
    {
        assert_eq!(read(server.post(path, &hello)).await.0, 200, "{path}");
    }
    for path in ["/models", "/v1/models/", "/models/echo/", "/healthz/"] {
        assert_eq!(read(server.get(path)).await.0, 200, "{path}");
    }
    let (status, unknown) = error(server.post("/openai/deployments/m/chat/completions", &hello)).await;
    assert_eq!((status, &unknown["code"]), (404, &json!("unknown_path")));
    let message = unknown["message"].as_str().expect("text");
    assert!(message.contains("POST /openai/deployments/m/chat/completions"), "{message}");
    assert!(message.contains("base URL must end with /v1"), "{message}");
    let response = send(server.get(CHAT)).await;
    assert_eq!(response.status(), 405);
    assert_eq!(response.headers()[header::ALLOW], "POST");
    assert_eq!(error(server.get(CHAT)).await.0, 405);
    assert_eq!(error(server.post("/v1/models", &json!({}))).await.0, 405);
}

#[tokio::test]
async fn a_body_over_the_limit_is_refused_announced_or_not() {
    let server = Server::with("[server]\nmax_body_bytes = 1000", &[]).await;
    let large = json!({"model": "echo", "messages": [{"role": "user", "content": "x".repeat(100_000)}]});
    let (status, refused) = error(server.post(CHAT, &large)).await;
    assert_eq!((status, &refused["code"]), (413, &json!("request_too_large")));
    let pieces = format!("{:x}\r\n{}\r\n", 2000, "x".repeat(2000));
    let answer = server
        .raw(&format!(
            "POST {CHAT} HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\nconnection: close\r\n\r\n{pieces}0\r\n\r\n"
        ))
        .await;
    assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
}

#[tokio::test]
async fn the_clients_request_id_comes_back_and_a_wrong_one_does_not() {
    let server = Server::start().await;
    let hello = json!({"model": "echo", "messages": [{"role": "user", "content": "Hello"}]});
    let response = send(server.post(CHAT, &hello).header("x-request-id", "mine-1")).await;
    assert_eq!(response.headers()["x-request-id"], "mine-1");
    let response = send(server.post(CHAT, &hello).header("x-request-id", "not mine")).await;
    assert_eq!(response.headers()["x-request-id"].len(), 36);
}

#[tokio::test]
async fn x3_a_plugin_that_sets_a_header_of_the_servers_fails_and_the_header_is_not_sent() {
    let server = Server::start().await;
    let hello = json!({"model": "echo", "messages": [{"role": "user", "content": "Hello"}]});
    let plugins = async |method: Method, path: &str, body: serde_json::Value| {
        let (status, answer) = read(server.admin(method, path).json(&body)).await;
        assert!(status < 300, "{answer}");
    };
    let load = json!({"path": stumble(), "config": {"header": "x-mine"}});
    plugins(Method::POST, "/admin/plugins", load).await;
    let response = send(server.post(CHAT, &hello)).await;
    assert_eq!(response.headers()["x-mine"], "of-the-plugin");
    for name in
        ["content-encoding", "content-type", "content-length", "Transfer-Encoding", "TE", "x-request-id"]
    {
        let update = json!({"config": {"header": name}, "on_error": "continue", "force": true});
        plugins(Method::PATCH, "/admin/plugins/stumble", update).await;
        let response = send(server.post(CHAT, &hello).header("x-request-id", "mine-1")).await;
        assert_eq!(response.headers()["x-request-id"], "mine-1", "{name}");
        let set = response.headers().values().filter(|value| *value == "of-the-plugin").count();
        assert_eq!((response.status().as_u16(), set), (200, 0), "{name}: {:?}", response.headers());
        let answer: serde_json::Value = response.json().await.expect("JSON");
        assert_eq!(answer["choices"][0]["message"]["content"], "Hello", "{name}");
        plugins(Method::PATCH, "/admin/plugins/stumble", json!({"on_error": "fail"})).await;
        let (status, failure) = error(server.post(CHAT, &hello)).await;
        assert_eq!((status, &failure["type"]), (500, &json!("plugin_failure")), "{name}");
    }
}

#[tokio::test]
async fn the_label_plugin_names_the_instance_in_every_metric_of_the_host() {
    let server = Server::start().await;
    let load = json!({"path": stumble(), "name": "guard", "config": {"header": "x-mine"}});
    assert_eq!(read(server.admin(Method::POST, "/admin/plugins").json(&load)).await.0, 201);
    assert!(server.ask("echo").await.is_object());
    let metrics = send(server.get("/metrics")).await.text().await.expect("text");
    let with = |name: &str, labels: &str| {
        metrics.lines().any(|line| line.starts_with(name) && line.contains(labels))
    };
    assert!(with("llmux_plugin_info{", "manifest=\"stumble\""), "{metrics}");
    for name in ["llmux_plugin_info{", "llmux_hook_failures_total{"] {
        assert!(with(name, "plugin=\"guard\""), "{name}: {metrics}");
    }
    assert!(!metrics.contains("plugin=\"stumble\""), "{metrics}");
}

#[tokio::test]
async fn f2_a_header_names_fallbacks() {
    let server = Server::start().await;
    let failing = json!({"model": "echo-error-404", "messages": [{"role": "user", "content": "Hello"}]});
    assert_eq!(error(server.post(CHAT, &failing)).await.0, 404);
    let (status, _) =
        read(server.post(CHAT, &failing).header("llmux-fallbacks", "echo-error-403, echo")).await;
    assert_eq!(status, 200);
}

#[tokio::test]
async fn f3_an_error_keeps_its_status_and_says_when_to_come_back() {
    let server = Server::with("[retry]\nmax_retries = 0", &[]).await;
    let response = send(server.post(CHAT, &json!({"model": "echo-error-429", "messages": []}))).await;
    assert_eq!(response.status(), 429);
    assert_eq!(response.headers()[header::RETRY_AFTER], "1");
    for status in [400, 403, 404, 408, 409, 413, 422, 500, 502, 503, 504, 529] {
        let body = json!({"model": format!("echo-error-{status}"), "messages": []});
        assert_eq!(error(server.post(CHAT, &body)).await.0, status);
    }
}

#[tokio::test]
async fn http2_is_spoken_without_tls() {
    let server = Server::start().await;
    let client = reqwest::Client::builder().no_proxy().http2_prior_knowledge().build().expect("a client");
    let response = send(client.get(format!("{}/healthz", server.api))).await;
    assert_eq!(response.version(), reqwest::Version::HTTP_2);
    assert_eq!(response.status(), 200);
}

#[tokio::test]
async fn a_client_that_sends_its_head_too_slowly_is_dropped() {
    let server = Server::with("[server]\nread_timeout = \"200ms\"", &[]).await;
    for begun in ["", "PR", "POST /v1/chat"] {
        let answer = server.raw(begun).await;
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 408"), "{begun:?}: {answer}");
    }
    let answer = server
        .raw("POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-length: 10\r\n\r\n{")
        .await;
    assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
}

#[tokio::test]
async fn client_keys_are_asked_for_once_there_are_any() {
    let configuration = r#"
        [[api_key]]
        id = "alice-1"
        sha256 = "HASH"
        user = "alice"
    "#;
    let configuration = configuration.replace("HASH", &sha256("sk-alice"));
    let mut server = Server::with(&configuration, &[]).await;
    let hello = json!({"model": "echo-request", "messages": [{"role": "user", "content": "Hello"}]});
    let (status, refused) = error(server.post(CHAT, &hello)).await;
    assert_eq!((status, &refused["code"]), (401, &json!("invalid_api_key")));
    assert_eq!(error(server.post(CHAT, &hello).bearer_auth("sk-mallory")).await.0, 401);
    assert_eq!(error(server.get("/v1/models?api_key=sk-alice")).await.0, 401, "not in the query");
    assert_eq!(error(server.get("/metrics")).await.0, 401);
    let large = json!({"model": "x".repeat(5_000_000)});
    assert_eq!(error(server.post(CHAT, &large)).await.0, 401, "the answer is not lost to a reset");
    assert_eq!(read(server.get("/healthz")).await.0, 200);
    assert_eq!(read(server.post(CHAT, &hello).bearer_auth("sk-alice")).await.0, 200);
    server.signal("-TERM").await;
    let mut log = String::new();
    let mut stderr = server.child.stderr.take().expect("piped");
    tokio::io::AsyncReadExt::read_to_string(&mut stderr, &mut log).await.expect("text");
    assert!(!log.contains("sk-"), "{log}");
}

pub(crate) fn sha256(secret: &str) -> String {
    use sha2::Digest;
    sha2::Sha256::digest(secret).iter().map(|byte| format!("{byte:02x}")).collect()
}

#[tokio::test]
async fn f9_a_key_comes_in_three_headers_and_goes_no_further() {
    let upstream = ScriptedServer::start([(); 3].map(|()| ScriptedResponse::json(200, "{}"))).await;
    let key = format!("[[api_key]]\nid = \"shop\"\nsha256 = \"{}\"\n", sha256("shop-secret"));
    let provider = format!(
        "[[provider]]\nname = \"up\"\ntype = \"openai\"\nbase_url = \"{}\"\nmodels = [\"m\"]\n",
        upstream.base_url()
    );
    let server = Server::with(&format!("{provider}{key}"), &[]).await;
    let ask = || server.post(CHAT, &json!({"model": "m", "messages": []}));
    for (name, value) in
        [("authorization", "Bearer shop-secret"), ("api-key", "shop-secret"), ("x-api-key", "shop-secret")]
    {
        assert_eq!(send(ask().header(name, value)).await.status(), 200, "{name}");
        let wrong = error(ask().header(name, format!("{value}x"))).await;
        assert_eq!((wrong.0, &wrong.1["code"]), (401, &json!("invalid_api_key")), "{name}");
    }
    let (status, refused) = error(ask().bearer_auth("shop-secret").header("x-api-key", "other")).await;
    assert_eq!((status, &refused["code"]), (400, &json!("different_api_keys")));
    let missing = error(ask()).await.1;
    assert!(missing["message"].as_str().is_some_and(|it| it.contains("`x-api-key`")), "{missing}");
    let requests = upstream.requests();
    assert_eq!(requests.len(), 3);
    let shown = |value: &String| value.contains("shop-secret");
    assert!(!requests.iter().any(|it| it.headers.iter().any(|(_, value)| shown(value))), "{requests:?}");
}
