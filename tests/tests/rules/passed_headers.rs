//! Rule F9: headers that pass between the client and the provider. They run in real time, because the socket is real.

use std::sync::Arc;

use http::HeaderMap;
use llmux_core::{Client, ClientBuilder, client::RetryConfig, provider::OpenAi};
use llmux_testing::{ScriptedResponse, ScriptedServer};
use llmux_tests::{
    Kind, World,
    world::{built, chat, header},
};
use serde_json::json;

const OK: &str = r#"{"id":"x","object":"chat.completion","choices":[{"index":0,"message":{"role":"assistant","content":"hi"},"finish_reason":"stop"}]}"#;
const CHUNK: &str = "data: {\"choices\":[{\"delta\":{\"content\":\"hi\"},\"finish_reason\":\"stop\"}]}\n\n";

/// Returns an answer with the headers of a provider.
fn with_headers(answer: ScriptedResponse) -> ScriptedResponse {
    answer
        .header("x-ratelimit-remaining-requests", "99")
        .header("x-request-id", "req_1")
        .header("x-other", "1")
        .header("set-cookie", "a=b")
}

fn over(upstream: &ScriptedServer) -> ClientBuilder {
    let provider = OpenAi::builder("up", upstream.base_url())
        .api_key("sk-1")
        .api_key_header("x-own-key")
        .header("x-fixed", "of the operator")
        .header("x-default", "of the operator")
        .forward_headers(["openai-beta", "x-*", "user-agent"])
        .build()
        .expect("a provider");
    let retry = RetryConfig::default().with_max_retries(0);
    Client::builder().provider("up", Arc::new(provider), ["m"]).retry(retry)
}

fn of_client() -> HeaderMap {
    let headers = [
        ("openai-beta", "a"),
        ("x-tenant", "of the client"),
        ("x-fixed", "of the client"),
        ("x-own-key", "of the client"),
        ("x-api-key", "sk-client"),
        ("user-agent", "curl"),
        ("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
        ("cookie", "a=b"),
        ("accept-language", "de"),
    ];
    headers
        .iter()
        .map(|(name, value)| (name.parse().expect("a name"), value.parse().expect("a value")))
        .collect()
}

#[tokio::test]
async fn f9_headers_pass_both_ways_and_those_of_plugins_and_operators_win_compiled() {
    both_ways(Kind::Compiled).await;
}

#[tokio::test]
async fn f9_headers_pass_both_ways_and_those_of_plugins_and_operators_win_loaded() {
    both_ways(Kind::Loaded).await;
}

async fn both_ways(kind: Kind) {
    let world = World::new(kind);
    let upstream = ScriptedServer::start([with_headers(ScriptedResponse::json(200, OK))]).await;
    let set = |name: &str, value: &str| json!({"do": "provider_header", "name": name, "value": value});
    let scripts = json!({
        "pre": [set("x-tenant", "of the plugin"), set("x-own-key", "of the plugin"), set("x-default", "of the plugin"), {"do": "tell", "what": "header:x-tenant"}],
        "post": [{"do": "tell", "what": "provider_header:x-request-id"}],
    });
    let client = built(over(&upstream), [world.probe("a", 1, scripts)]).await;
    let reply = client.send(chat("m").with_headers(of_client())).await;
    reply.result.as_ref().expect("an answer");
    world.finish(&client).await;
    let sent = upstream.requests().remove(0);
    for (name, value) in [
        ("openai-beta", Some("a")),
        ("x-tenant", Some("of the plugin")),
        ("x-fixed", Some("of the operator")),
        ("x-default", Some("of the plugin")),
        ("x-own-key", Some("sk-1")),
        ("x-api-key", None),
        ("user-agent", Some("curl")),
        ("traceparent", Some("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")),
        ("cookie", None),
        ("accept-language", None),
    ] {
        let sent: Vec<_> = sent.headers.iter().filter(|(sent, _)| sent == name).collect();
        assert_eq!(
            sent.iter().map(|(_, value)| &**value).collect::<Vec<_>>(),
            Vec::from_iter(value),
            "{name}"
        );
    }
    let returned = reply.provider_headers();
    assert_eq!(header(returned, "x-ratelimit-remaining-requests"), Some("99"));
    assert_eq!(header(returned, "x-upstream-request-id"), Some("req_1"));
    assert_eq!(returned.len(), 2, "{returned:?}");
    assert_eq!(world.of("post")[1..], ["a provider_header:x-request-id = req_1"]);
}

#[tokio::test]
async fn f9_the_headers_of_errors_and_streams_return_compiled() {
    errors_and_streams(Kind::Compiled).await;
}

#[tokio::test]
async fn f9_the_headers_of_errors_and_streams_return_loaded() {
    errors_and_streams(Kind::Loaded).await;
}

async fn errors_and_streams(kind: Kind) {
    let world = World::new(kind);
    let upstream = ScriptedServer::start([]).await;
    let sees = json!({"post": [{"do": "tell", "what": "provider_header:x-request-id"}]});
    let client = built(over(&upstream), [world.probe("a", 1, sees)]).await;
    for (answer, stream) in [
        (ScriptedResponse::json(429, r#"{"error":{"message":"slow down"}}"#), false),
        (ScriptedResponse::json(200, r#"{"error":{"message":"no","code":400}}"#), false),
        (ScriptedResponse::json(429, r#"{"error":{"message":"slow down"}}"#), true),
        (ScriptedResponse::sse(["data: {\"error\":{\"message\":\"no\",\"code\":400}}\n\n"]), true),
        (ScriptedResponse::sse([CHUNK, "data: [DONE]\n\n"]), true),
    ] {
        let shown = format!("{answer:?}");
        upstream.push(with_headers(answer));
        let returned = match stream {
            false => client.send(chat("m")).await.provider_headers().to_vec(),
            true => client.stream(chat("m")).await.provider_headers().to_vec(),
        };
        assert_eq!(header(&returned, "x-ratelimit-remaining-requests"), Some("99"), "{shown}");
        assert_eq!(header(&returned, "x-upstream-request-id"), Some("req_1"), "{shown}");
    }
    world.finish(&client).await;
    let seen = world.count("a.post provider_header:x-request-id = req_1");
    assert_eq!(seen, 2, "post hooks read the headers of an error");
}

#[tokio::test]
async fn f9_an_answer_of_a_plugin_has_no_header_of_the_provider() {
    let world = World::new(Kind::Compiled);
    let failed = || with_headers(ScriptedResponse::json(429, r#"{"error":{"message":"slow down"}}"#));
    let upstream = ScriptedServer::start([failed()]).await;
    let answers = json!({"post": [{"do": "recover", "body": {"id": "of the plugin", "choices": []}}]});
    let client = built(over(&upstream), [world.probe("a", 1, answers)]).await;
    let reply = client.send(chat("m")).await;
    reply.result.as_ref().expect("the answer of the plugin");
    assert!(reply.provider_headers().is_empty(), "{:?}", reply.provider_headers());
}
