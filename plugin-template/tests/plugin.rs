//! The plugin in the real pipeline, without a server and without a provider.

use {{crate_name}}::{{crate_name | upper_camel_case}};
use llmux_core::testing::Harness;
use serde_json::json;

#[tokio::test]
async fn an_answer_is_signed() {
    let harness = Harness::new::<{{crate_name | upper_camel_case}}>(json!({"signature": "(me)"})).await;
    harness.respond_text("Hello!");
    harness.chat("Hi").await.assert_text("Hello! (me)");
}
