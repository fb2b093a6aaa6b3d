//! `smallest`, compiled in and from its library, and `system_prompt`, an equal plugin, from its library.

use llmux_testing::{Harness, build::example};
use serde_json::{Value, json};

#[path = "../../examples/smallest.rs"]
pub mod smallest;

use smallest::Smallest;

async fn says_the_prompt_first(harness: Harness) {
    harness.chat("Hello!").await.assert_text("Hello!");
    harness.assert_sent("/messages/0", json!({"role": "system", "content": "Be brief."}));
    harness.chat_stream("Hello!").await.assert_text("Hello!");
    harness.assert_sent("/messages/0/content", "Be brief.").assert_sent("/messages/1/content", "Hello!");
    harness.unload().await;
}

#[tokio::test]
async fn the_prompt_goes_before_all_messages() {
    says_the_prompt_first(Harness::new::<Smallest>(json!({"prompt": "Be brief."})).await).await;
}

#[tokio::test]
async fn so_it_does_from_a_library() {
    for library in ["smallest", "system_prompt"] {
        let library = example("llmux-abi", library);
        says_the_prompt_first(Harness::library(library, json!({"prompt": "Be brief."})).await).await;
    }
}

#[tokio::test]
async fn a_body_without_messages_is_left_alone() {
    let harness = Harness::new::<Smallest>(json!({"prompt": "Be brief."})).await;
    harness.chat(json!({"input": "Hello!"})).await.assert_ok();
    harness.assert_sent("/messages", Value::Null);
}

#[tokio::test]
async fn a_wrong_configuration_is_refused_by_its_member() {
    let builder = Harness::builder().plugin::<Smallest>(json!({"prompt": 7}));
    let error = builder.try_build().await.err().expect("refused").to_string();
    assert!(error.contains("prompt") && error.contains("string"), "{error}");
}
