//! `mock`: answers from a file instead of the provider.

use llmux_testing::Harness;
use serde_json::json;

#[path = "../../examples/mock.rs"]
pub mod mock;

use mock::Mock;

async fn new() -> Harness {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../examples/mock.json");
    Harness::new::<Mock>(json!({ "file": file })).await
}

#[tokio::test]
async fn rules_answer_plain_and_streaming() {
    let harness = new().await;
    for streams in [false, true] {
        let ask = async |text: &str| match streams {
            false => harness.chat(text).await,
            true => harness.chat_stream(text).await,
        };
        let reply = ask("How is the weather?").await;
        reply.assert_text("Sunny, with a light wind.").assert_value("mock_rule", 0);
        assert_eq!(reply.body()["model"], "test-model");
        assert_eq!(reply.chunks().len(), if streams { 6 } else { 0 });
        ask("are you overloaded").await.assert_rejected(503);
        ask("use a tool").await.assert_text("No tools here.");
    }
    harness.assert_nothing_sent();
}

#[tokio::test]
async fn what_no_rule_knows_goes_on_to_the_provider() {
    let harness = new().await;
    harness.chat("hello").await.assert_text("hello");
    harness.assert_sent("/messages/0/content", "hello");
}

#[tokio::test]
async fn a_file_that_is_not_there_is_named() {
    let builder = Harness::builder().plugin::<Mock>(json!({"file": "/no/such/file.json"}));
    let error = builder.try_build().await.err().expect("refused").to_string();
    assert!(error.contains("/no/such/file.json"), "{error}");
}
