//! `model_router`: the prompt's size picks the model.

use llmux_core::testing::Harness;
use serde_json::json;

#[path = "../../examples/model_router.rs"]
pub mod model_router;

use model_router::ModelRouter;

async fn new() -> Harness {
    let routes = json!([{"model": "small", "up_to_tokens": 100}, {"model": "large"}]);
    let builder = Harness::builder().plugin::<ModelRouter>(json!({ "routes": routes }));
    builder.models(["small", "large"]).build().await
}

#[tokio::test]
async fn short_prompts_go_to_the_small_model_and_long_ones_to_the_large() {
    let harness = new().await;
    for (words, model) in [(1, "small"), (200, "large")] {
        let messages = json!([{"role": "user", "content": "word ".repeat(words)}]);
        let body = json!({"model": "auto", "messages": messages});
        harness.chat(&body).await.assert_ok().assert_header("x-routed-model", model);
        harness.assert_sent("/model", model);
        harness.chat_stream(&body).await.assert_ok().assert_header("x-routed-model", model);
        harness.assert_sent("/model", model);
    }
    harness.assert_logged("model=large");
}

#[tokio::test]
async fn who_names_a_model_gets_it() {
    let harness = new().await;
    let reply = harness.chat(json!({"model": "large", "messages": []})).await;
    assert_eq!(reply.header("x-routed-model"), None);
    harness.assert_sent("/model", "large");
}

#[tokio::test]
async fn routes_that_make_no_sense_are_refused() {
    for (routes, why) in [
        (json!([]), "names no model"),
        (json!([{"model": "a", "up_to_tokens": 1}]), "takes every prompt"),
        (
            json!([{"model": "a", "up_to_tokens": 2}, {"model": "b", "up_to_tokens": 1}, {"model": "c"}]),
            "ascending",
        ),
        (json!([{"model": "a"}, {"model": "b"}]), "ascending"),
    ] {
        let builder = Harness::builder().plugin::<ModelRouter>(json!({ "routes": routes }));
        let error = builder.try_build().await.err().expect("refused").to_string();
        assert!(error.contains(why), "{error}");
    }
}
