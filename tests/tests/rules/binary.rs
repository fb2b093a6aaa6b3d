//! Answers that are not JSON: audio passes through as it arrives, and hooks see a document that describes it. They run in
//! real time, because the socket is real.

use std::sync::Arc;

use futures_util::StreamExt;
use llmux_core::{Client, ClientBuilder, Endpoint, Request, client::RetryConfig, provider::OpenAi};
use llmux_testing::{ScriptedResponse, ScriptedServer};
use llmux_tests::{
    Kind, World,
    world::{built, told},
};
use serde_json::json;

const AUDIO: &[u8] = b"ID3\0\xff{not JSON}";

fn over(upstream: &ScriptedServer) -> ClientBuilder {
    let provider = OpenAi::builder("up", upstream.base_url()).max_response_bytes(100);
    let retry = RetryConfig::default().with_max_retries(0);
    Client::builder().provider("up", Arc::new(provider.build().expect("a provider")), ["m"]).retry(retry)
}

fn speech() -> Request {
    let body = json!({"model": "m", "input": "say it", "voice": "alloy"});
    Request::of(Endpoint::Speech, &body).expect("a request")
}

fn audio() -> ScriptedResponse {
    ScriptedResponse::json(200, AUDIO).header("content-type", "audio/mpeg")
}

#[tokio::test]
async fn f12_hooks_see_the_request_for_speech_and_a_description_of_its_answer_compiled() {
    described(Kind::Compiled).await;
}

#[tokio::test]
async fn f12_hooks_see_the_request_for_speech_and_a_description_of_its_answer_loaded() {
    described(Kind::Loaded).await;
}

async fn described(kind: Kind) {
    let world = World::new(kind);
    let upstream = ScriptedServer::start([audio()]).await;
    let scripts = json!({
        "pre": [{"do": "set", "pointer": "/voice", "value": "echo"}],
        "post": [{"do": "tell", "what": "body:/object"}, {"do": "tell", "what": "body:/content_type"}, {"do": "tell", "what": "body:/bytes"}],
    });
    let edits = world.probe("b", 2, json!({"post": [{"do": "set", "pointer": "/bytes", "value": 1}]}));
    let replaces = json!({"post": [{"do": "recover", "body": {"choices": []}}]});
    let replaces = world.probe("c", 3, replaces);
    let client = built(over(&upstream), [world.probe("a", 1, scripts), edits, replaces]).await;
    let mut reply = client.send(speech()).await;
    let binary = reply.binary.take().expect("bytes");
    assert_eq!((&*binary.content_type, binary.length), ("audio/mpeg", Some(AUDIO.len() as u64)));
    let pieces: Vec<_> = binary.body.map(|piece| piece.expect("bytes")).collect().await;
    assert_eq!(pieces.concat(), AUDIO);
    let document = reply.result.expect("a description");
    assert_eq!(document.get_str("/object"), Some("binary"));
    let failed: Vec<_> = client
        .plugins()
        .list()
        .into_iter()
        .filter(|info| info.hooks.iter().any(|hook| hook.failures > 0))
        .collect();
    world.finish(&client).await;
    let sent = upstream.requests().remove(0);
    let body: serde_json::Value = serde_json::from_slice(&sent.body).expect("JSON");
    assert_eq!((&*sent.path, &body["voice"]), ("/v1/audio/speech", &json!("echo")));
    let seen = &world.of("post");
    for line in ["a body:/object = \"binary\"", "a body:/content_type = \"audio/mpeg\"", "a body:/bytes = 15"]
    {
        assert!(seen.iter().any(|seen| seen == line), "{seen:#?}");
    }
    assert_eq!(failed.len(), 2, "neither an edit nor a response in its place is possible");
}

#[tokio::test]
async fn f12_a_post_hook_refuses_an_answer_of_bytes() {
    let world = World::new(Kind::Compiled);
    let upstream = ScriptedServer::start([audio()]).await;
    let refuses = json!({"post": [{"do": "convert", "status": 403, "message": "no"}]});
    let client = built(over(&upstream), [world.probe("a", 1, refuses)]).await;
    let reply = client.send(speech()).await;
    assert!(reply.binary.is_none(), "nothing of it reaches the client");
    assert_eq!(reply.result.expect_err("refused").status(), 403);
}

#[tokio::test]
async fn f5_an_error_in_place_of_bytes_is_that_error() {
    let upstream = ScriptedServer::start([]).await;
    let client = built(over(&upstream), []).await;
    let json = |body: &'static str| ScriptedResponse::json(200, body);
    for (answer, expected) in [
        (json(r#"{"error":{"message":"no voice","code":400}}"#), "!400 provider_error: no voice"),
        (
            ScriptedResponse::sse(["event: error\ndata: {\"message\":\"over\",\"status\":429}\n\n"]),
            "!429 provider_error: over",
        ),
        (
            ScriptedResponse::sse(["data: {\"error\":{\"message\":\"no\"", ",\"code\":400}}\n\n"]),
            "!400 provider_error: no",
        ),
        (
            ScriptedResponse::json(429, r#"{"error":{"message":"slow down"}}"#),
            "!429 provider_error: slow down",
        ),
        (
            audio().header("content-length", "101"),
            "!502 bad_gateway: the provider's response has more than 100 bytes",
        ),
    ] {
        let shown = format!("{answer:?}");
        upstream.push(answer);
        let reply = client.send(speech()).await;
        let error = reply.result.expect_err(&shown);
        assert_eq!((told(&error), reply.binary.is_none()), (expected.to_owned(), true), "{shown}");
    }
}

#[tokio::test]
async fn f8_bytes_of_unknown_length_are_bounded() {
    let chunked = |pieces: Vec<Vec<u8>>| ScriptedResponse::sse(pieces).header("content-type", "audio/mpeg");
    let events = "data: {\"type\":\"speech.audio.delta\"}\n\n";
    let upstream = ScriptedServer::start([
        chunked(vec![vec![0xff; 60], vec![0xff; 60]]),
        chunked(vec![vec![0xff; 20]]).then_close(),
        ScriptedResponse::sse([events]),
    ])
    .await;
    let client = built(over(&upstream), []).await;
    for (what, error) in [("too long", "more than 100 bytes"), ("broken off", "broke off")] {
        let mut reply = client.send(speech()).await;
        assert_eq!(reply.result.as_ref().expect("a description").get("/bytes"), Some("null"));
        let binary = reply.binary.take().expect("bytes");
        let items: Vec<_> = binary.body.collect().await;
        let last = items.last().expect("an item").as_ref().expect_err(what);
        assert!(last.message().contains(error), "{what}: {last}");
        assert!(items[0].is_ok(), "{what}: the beginning passes");
    }
    let binary = client.send(speech()).await.binary.expect("bytes");
    assert_eq!(binary.content_type, "text/event-stream; charset=utf-8");
    let pieces: Vec<_> = binary.body.map(|piece| piece.expect("bytes")).collect().await;
    assert_eq!(pieces.concat(), events.as_bytes(), "events that are no error pass");
}

#[tokio::test]
async fn f4_a_request_without_a_model_goes_to_the_default_of_its_endpoint() {
    let moderation = Request::new(Endpoint::Moderations, r#"{"input":"x"}"#).expect("a request");
    assert_eq!(moderation.body().get_str("/model"), Some("omni-moderation-latest"));
    let image =
        Request::new(Endpoint::ImageGenerations, r#"{"prompt":"x","model":null}"#).expect("a request");
    assert_eq!(image.body().get_str("/model"), Some("dall-e-2"));
    for (endpoint, body) in [
        (Endpoint::Rerank, r#"{"query":"x","documents":[]}"#),
        (Endpoint::Speech, r#"{"input":"x"}"#),
        (Endpoint::Moderations, r#"{"model":5}"#),
        (Endpoint::Moderations, r#"{"model":""}"#),
        (Endpoint::ImageGenerations, r#"{"prompt":"x","stream":true}"#),
    ] {
        assert_eq!(Request::new(endpoint, body).expect_err(body).status(), 400, "{body}");
    }
}
