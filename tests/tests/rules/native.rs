//! Plugins in C and C++ keep the rules: the examples of `llmux-abi/examples/c` and `llmux-abi/examples/cpp`, built by the
//! compilers that their pages name.
//!
//! The service that the guard asks runs on the thread of the test. A hook that blocked its thread would never get an answer.

use std::time::Duration;

use llmux_core::{PluginSpec, pipeline::PipelineConfig};
use llmux_testing::{Harness, ScriptedResponse, ScriptedServer};
use llmux_tests::native;
use serde_json::{Value, json};

fn status(status: u16) -> ScriptedResponse {
    ScriptedResponse::json(status, "{}")
}

fn asking(service: &ScriptedServer) -> Value {
    json!({"url": service.base_url(), "timeout_ms": 10_000})
}

/// Returns the guard with a service that sends these answers.
async fn guard(answers: impl IntoIterator<Item = ScriptedResponse>) -> (Harness, ScriptedServer) {
    let service = ScriptedServer::start(answers).await;
    (Harness::library(native::c_guard(), asking(&service)).await, service)
}

#[tokio::test]
async fn a_guard_in_c_asks_its_service_and_edits_the_request() {
    let (harness, service) = guard([status(200)]).await;
    harness.chat("hello").await.assert_text("hello");
    harness.assert_sent("/store", false);
    let asked = &service.requests()[0];
    assert_eq!((asked.method.as_str(), asked.path.as_str()), ("POST", "/v1"));
    assert_eq!(asked.header("content-type"), Some("application/json"));
    let body: Value = serde_json::from_slice(&asked.body).expect("JSON");
    assert_eq!(body["messages"][0]["content"], "hello");
    assert_eq!(body.get("store"), None, "the request before the edit");
}

#[tokio::test]
async fn a_guard_in_c_refuses_what_its_service_refuses() {
    let (harness, _service) = guard([status(403), status(403)]).await;
    for reply in [harness.chat("hello").await, harness.chat_stream("hello").await] {
        reply.assert_rejected(403);
        assert_eq!(reply.error().expect("an error").message(), "the guard refuses the request");
        assert_eq!(reply.failures(), [""; 0], "a refusal is no failure");
    }
    harness.assert_nothing_sent().assert_logged("refused request_id=");
}

#[tokio::test]
async fn a_guard_in_c_fails_the_request_if_its_service_fails() {
    let broken = [
        (status(500), "the service answered with the status 500"),
        (ScriptedResponse::raw(""), "the service did not answer"),
    ];
    for (answer, reason) in broken {
        let (harness, _service) = guard([answer]).await;
        let reply = harness.chat("hello").await;
        reply.assert_rejected(500);
        let [failure] = reply.failures() else { panic!("{:?}", reply.failures()) };
        assert!(failure.contains(reason), "{failure}");
        harness.assert_nothing_sent();
    }
}

#[tokio::test]
async fn a_guard_in_c_gives_up_at_the_timeout_of_its_configuration() {
    let service = ScriptedServer::start([ScriptedResponse::hang()]).await;
    let config = json!({"url": service.base_url(), "timeout_ms": 50});
    // Less than the default of the guard: without the configuration, the host would end the hook.
    let pipeline = PipelineConfig::default().with_pre_hook_timeout(Duration::from_secs(1));
    let harness = Harness::builder().library(native::c_guard(), config).pipeline(pipeline).build().await;
    let reply = harness.chat("hello").await;
    assert!(reply.failures()[0].contains("the service did not answer"), "{:?}", reply.failures());
}

#[tokio::test]
async fn a_guard_in_c_is_cancelled_at_the_timeout_of_the_host() {
    let service = ScriptedServer::start([ScriptedResponse::hang(), status(200)]).await;
    let config = json!({"url": service.base_url(), "timeout_ms": 60_000});
    let pipeline = PipelineConfig::default().with_pre_hook_timeout(Duration::from_millis(50));
    let harness = Harness::builder().library(native::c_guard(), config).pipeline(pipeline).build().await;
    let reply = harness.chat("hello").await;
    assert!(reply.failures()[0].contains("timeout"), "{:?}", reply.failures());
    // Long before the time limit of the request itself.
    let closed = tokio::time::timeout(Duration::from_secs(30), service.closed()).await;
    closed.expect("the host drops the hook, the hook its request, and the connection ends");
}

#[tokio::test]
async fn d1_the_linker_keeps_the_manifest_of_a_library_in_c() {
    let service = ScriptedServer::start([status(200)]).await;
    let harness = Harness::library(native::c_guard_without_unused_sections(), asking(&service)).await;
    harness.chat("hello").await.assert_ok();
}

#[tokio::test]
async fn many_requests_wait_in_a_guard_in_c_at_once() {
    let (harness, service) = guard(vec![status(200); 50]).await;
    let replies = (0..50).map(|number| harness.chat(format!("number {number}")));
    for (number, reply) in futures_util::future::join_all(replies).await.iter().enumerate() {
        reply.assert_text(&format!("number {number}"));
    }
    assert_eq!(service.requests().len(), 50);
}

#[tokio::test]
async fn d2_a_configuration_that_a_schema_in_c_does_not_allow_is_refused() {
    for config in [json!({}), json!({"url": "ftp://a"}), json!({"url": "http://a\"b"})] {
        let built = Harness::builder().library(native::c_guard(), &config).try_build().await;
        let refused = built.err().unwrap_or_else(|| panic!("{config} was not refused")).to_string();
        assert!(refused.contains("url"), "{refused}");
    }
}

#[tokio::test]
async fn instances_of_one_library_in_c_keep_their_own_configuration() {
    let (accepts, refuses) =
        (ScriptedServer::start([status(200)]).await, ScriptedServer::start([status(403)]).await);
    let spec = |name: &str, service: &ScriptedServer| {
        PluginSpec::path(native::c_guard()).with_name(name).with_config(asking(service))
    };
    let second = spec("second", &refuses).with_priority(20);
    let harness = Harness::builder().library(native::c_guard(), asking(&accepts)).spec(second).build().await;
    harness.chat("hello").await.assert_rejected(403);
    assert_eq!((accepts.requests().len(), refuses.requests().len()), (1, 1), "both were asked");
    harness.unload().await;
}

/// Returns the example in C++ with this configuration.
async fn lines(config: Value) -> Harness {
    Harness::library(native::cpp_lines(), config).await
}

fn contents(chunks: &[Value]) -> Vec<&str> {
    chunks.iter().filter_map(|chunk| chunk.pointer("/choices/0/delta/content")?.as_str()).collect()
}

#[tokio::test]
async fn s3_a_plugin_in_cpp_edits_replaces_and_drops_chunks() {
    let harness = lines(json!({})).await;
    harness.stream_text(&["one", " \"two\"\\", "", "\nthree\n\u{1}\u{e9}", " five"]);
    let reply = harness.chat_stream("hello").await;
    reply.assert_ok();
    let expected = ["1: one", " \"two\"\\", "\n", "2: three\n", "3: \u{1}\u{e9}", " five"];
    let contents: Vec<_> = contents(reply.chunks()).into_iter().filter(|text| !text.is_empty()).collect();
    assert_eq!(contents, expected, "{:#?}", reply.chunks());
    let empty = reply.chunks().iter().filter(|chunk| chunk["choices"][0]["delta"] == json!({"content": ""}));
    assert_eq!(empty.count(), 0, "dropped: {:#?}", reply.chunks());
    harness.completed().await;
    assert_eq!(harness.metric("lines_numbered_total", &[("plugin", "cpp-lines")]), Some(3.0));
}

#[tokio::test]
async fn a_plugin_in_cpp_has_state_for_each_request() {
    let harness = lines(json!({})).await;
    harness.stream_text(&["a\n", "b\n"]).stream_text(&["c\n", "d\n"]);
    let (one, other) = tokio::join!(harness.chat_stream("hello"), harness.chat_stream("hello"));
    let mut texts = [one.text(), other.text()];
    texts.sort();
    assert_eq!(texts, ["1: a\n2: b\n", "1: c\n2: d\n"]);
    harness.unload().await;
}

#[tokio::test]
async fn an_exception_in_cpp_that_the_plugin_catches_fails_the_hook_alone() {
    let harness = lines(json!({"max_lines": 1})).await;
    harness.stream_text(&["one\ntwo\n"]).stream_text(&["one\n"]);
    let reply = harness.chat_stream("hello").await;
    assert_eq!(reply.error().map(|error| error.error_type()), Some("plugin_failure"), "{:?}", reply.error());
    assert!(reply.failures()[0].contains("the answer has more than 1 lines"), "{:?}", reply.failures());
    harness.chat_stream("hello").await.assert_text("1: one\n");
}

#[tokio::test]
async fn the_examples_in_c_and_cpp_serve_one_request_together() {
    let service = ScriptedServer::start([status(200)]).await;
    let harness = Harness::builder()
        .library(native::c_guard(), asking(&service))
        .library(native::cpp_lines(), json!({}))
        .build()
        .await;
    harness.stream_text(&["one\ntwo"]);
    harness.chat_stream("hello").await.assert_text("1: one\n2: two");
    harness.assert_sent("/store", false);
    harness.unload().await;
}
