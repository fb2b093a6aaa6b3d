//! Tests of the plugin in the real pipeline, without a server or a provider.

use llmux_testing::Harness;
use serde_json::json;

use {{crate_name}}::{{crate_name | upper_camel_case}};

#[tokio::test]
async fn an_answer_is_signed() {
    let config = json!({"signature": "(me)"});
    let harness = Harness::new::<{{crate_name | upper_camel_case}}>(config).await;
    harness.respond_text("Hello!");
    harness.chat("Hi").await.assert_text("Hello! (me)");
}
