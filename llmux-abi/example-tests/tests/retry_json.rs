//! `retry_json`: the client receives the requested JSON, or an error that fallbacks and clients can retry.

use llmux_example_tests::retry_json::RetryJson;
use llmux_testing::Harness;
use serde_json::{Value, json};

fn ask(format: Value) -> Value {
    json!({"messages": [{"role": "user", "content": "as JSON"}], "response_format": format})
}

fn object() -> Value {
    ask(json!({"type": "json_object"}))
}

#[tokio::test]
async fn json_passes_as_it_is() {
    let harness = Harness::new::<RetryJson>(json!({})).await;
    let answer = "{\"a\": 1.50 }";
    harness.respond_text(answer).stream_text(&["{\"a\"", ": 1.50 }"]);
    harness.chat(object()).await.assert_text(answer);
    harness.chat_stream(object()).await.assert_text(answer);
    harness.chat("who asks for no JSON").await.assert_text("who asks for no JSON");
}

#[tokio::test]
async fn anything_else_is_an_error_that_says_why() {
    let schema = json!({"type": "object", "required": ["name"]});
    let schema = ask(json!({"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}));
    let harness = Harness::new::<RetryJson>(json!({})).await;
    for (body, answer, why) in [
        (object(), "Sure! {\"a\"", "it is not JSON: expected value at line 1 column 1"),
        (object(), "[1]", "not an object"),
        (schema, "{\"title\": 1}", "the member `name` is missing"),
    ] {
        harness.respond_text(answer).stream_text(&[answer]);
        for reply in [harness.chat(&body).await, harness.chat_stream(&body).await] {
            reply.assert_rejected(502);
            let error = reply.error().expect("an error");
            assert!(error.message().contains(why), "{error}");
            assert_eq!(error.code(), Some("not_the_json_asked_for"));
        }
    }
}

#[tokio::test]
async fn a_fence_around_it_is_taken_off() {
    let harness = Harness::new::<RetryJson>(json!({})).await;
    harness.respond_text("```json\n{\"a\": 1}\n```");
    harness.chat(object()).await.assert_text("{\"a\": 1}");
}

#[tokio::test]
async fn a_fallback_may_do_better() {
    let builder = Harness::builder().plugin::<RetryJson>(json!({})).models(["better"]);
    let harness = builder.fallbacks("test-model", &["better"]).build().await;
    harness.respond_text("no").respond_text("{}");
    let reply = harness.chat(object()).await;
    reply.assert_text("{}");
    assert_eq!(reply.attempts(), 2);
    harness.assert_sent("/model", "better");
}

#[tokio::test]
async fn calls_of_tools_and_refusals_are_no_answers_to_check() {
    let harness = Harness::new::<RetryJson>(json!({})).await;
    let message = json!({"role": "assistant", "content": null, "tool_calls": [{"id": "1"}]});
    harness.respond(json!({"choices": [{"index": 0, "message": message, "finish_reason": "tool_calls"}]}));
    harness.chat(object()).await.assert_ok();
}
