//! `moderation`: requests that the service flags are refused, whatever the provider answers, and all requests fail while the
//! service does not answer.

use std::time::Duration;

use llmux_testing::{Harness, HarnessReply, ScriptedResponse, ScriptedServer};
use serde_json::json;

#[path = "../../examples/moderation.rs"]
pub mod moderation;

use moderation::Moderation;

fn judged(flagged: bool) -> ScriptedResponse {
    ScriptedResponse::json(200, json!({"results": [{"flagged": flagged}]}).to_string())
}

/// Returns the plugin with a service that sends these answers.
async fn with(answers: Vec<ScriptedResponse>) -> (Harness, ScriptedServer) {
    within(10_000, answers).await
}

/// Returns the plugin with this timeout, and a service that sends these answers.
async fn within(timeout_ms: u64, answers: Vec<ScriptedResponse>) -> (Harness, ScriptedServer) {
    let service = ScriptedServer::start(answers).await;
    let config = json!({"url": service.base_url(), "api_key": "sk-1", "timeout_ms": timeout_ms});
    (Harness::new::<Moderation>(config).await, service)
}

fn assert_refused(reply: &HarnessReply) {
    reply.assert_rejected(400);
    let error = reply.error().expect("an error");
    assert_eq!(error.code(), Some("content_policy_violation"));
}

#[tokio::test]
async fn what_is_not_flagged_passes() {
    let (harness, service) = with(vec![judged(false), judged(false)]).await;
    harness.chat("hello").await.assert_text("hello");
    harness.chat_stream("hello").await.assert_text("hello");
    let asked = &service.requests()[0];
    assert_eq!(asked.header("authorization"), Some("Bearer sk-1"));
    assert_eq!(asked.body, json!({"input": ["hello"]}).to_string());
}

#[tokio::test]
async fn what_is_flagged_is_refused_and_counted_and_its_answer_is_never_seen() {
    let (harness, _service) = with(vec![judged(true), judged(true), judged(true)]).await;
    assert_refused(&harness.chat("evil").await);
    let reply = harness.chat_stream("evil").await;
    assert_refused(&reply);
    assert_eq!(reply.text(), "");
    // A call that takes longer than the service is cancelled.
    harness.hang();
    assert_refused(&harness.chat("evil").await);
    harness.assert_logged("refused");
    assert_eq!(harness.metric("moderation_flagged_total", &[("plugin", "moderation")]), Some(3.0));
}

#[tokio::test]
async fn every_message_is_shown_to_the_service() {
    let (harness, service) = with(vec![judged(false)]).await;
    let messages = json!([{"role": "user", "content": "one"}, {"role": "user", "content": [{"type": "text", "text": "two"}]}]);
    harness.chat(json!({"messages": messages})).await.assert_ok();
    assert_eq!(service.requests()[0].body, json!({"input": ["one", "two"]}).to_string());
}

#[tokio::test]
async fn a_service_that_breaks_lets_nothing_through() {
    let broken = [
        (10_000, ScriptedResponse::json(500, "{}")),
        (10_000, ScriptedResponse::json(200, "not JSON")),
        (10_000, ScriptedResponse::json(200, r#"{"results": []}"#)),
        (50, ScriptedResponse::hang()),
    ];
    for (timeout_ms, answer) in broken {
        let (harness, _service) = within(timeout_ms, vec![answer]).await;
        let reply = harness.chat("hello").await;
        reply.assert_rejected(500);
        assert_eq!(reply.error().expect("an error").error_type(), "plugin_failure");
        assert_eq!(reply.failures().len(), 1, "{:?}", reply.failures());
    }
}

#[tokio::test]
async fn neither_does_a_hook_that_runs_past_its_timeout() {
    let service = ScriptedServer::start([ScriptedResponse::hang()]).await;
    let pipeline =
        llmux_core::pipeline::PipelineConfig::default().with_pre_hook_timeout(Duration::from_millis(50));
    let config = json!({"url": service.base_url(), "timeout_ms": 60_000});
    let harness = Harness::builder().plugin::<Moderation>(config).pipeline(pipeline).build().await;
    let reply = harness.chat("hello").await;
    reply.assert_rejected(500);
    assert!(reply.failures()[0].contains("timeout"), "{:?}", reply.failures());
}
