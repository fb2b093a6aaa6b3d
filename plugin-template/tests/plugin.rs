//! Tests of the plugin in the real pipeline, without a server or a provider: compiled in, and as the built library.

use llmux_testing::Harness;
use serde_json::json;

use {{crate_name}}::{{crate_name | upper_camel_case}};

#[tokio::test]
async fn an_answer_is_signed() {
    let config = json!({"signature": "(me)"});
    let harness = Harness::new::<{{crate_name | upper_camel_case}}>(config).await;
    signs(harness).await;
}

#[tokio::test]
async fn the_built_library_signs_an_answer() {
    let config = json!({"signature": "(me)"});
    let harness = Harness::this_library(config).await;
    signs(harness).await;
}

async fn signs(harness: Harness) {
    harness.respond_text("Hello!");
    harness.chat("Hi").await.assert_text("Hello! (me)");
    harness.stream_text(&["Hel", "lo!"]);
    harness.chat_stream("Hi").await.assert_text("Hello! (me)");
}
