//! `model_router`: the size of the prompt selects the model.

use llmux_testing::{Harness, build::example};
use serde_json::{Value, json};

#[path = "../../examples/model_router.rs"]
pub mod model_router;

use model_router::ModelRouter;

fn config() -> Value {
    json!({"routes": [{"model": "small", "up_to_tokens": 100}, {"model": "large"}]})
}

async fn new() -> Harness {
    Harness::builder().plugin::<ModelRouter>(config()).models(["small", "large"]).build().await
}

#[tokio::test]
async fn short_prompts_go_to_the_small_model_and_long_ones_to_the_large() {
    routes_by_size(new().await).await;
}

#[tokio::test]
async fn so_they_do_from_a_library() {
    let builder = Harness::builder().library(example("llmux-abi", "model_router"), config());
    routes_by_size(builder.models(["small", "large"]).build().await).await;
}

async fn routes_by_size(harness: Harness) {
    for (words, model) in [(1, "small"), (200, "large")] {
        let messages = json!([{"role": "user", "content": "word ".repeat(words)}]);
        let body = json!({"model": "auto", "messages": messages});
        harness.chat(&body).await.assert_ok().assert_header("x-routed-model", model);
        harness.assert_sent("/model", model);
        harness.chat_stream(&body).await.assert_ok().assert_header("x-routed-model", model);
        harness.assert_sent("/model", model);
    }
    harness.assert_logged("DEBUG model_router").assert_logged("routed tokens=").assert_logged(" model=large");
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
        (json!([]), "`routes` is empty"),
        (json!([{"model": "a", "up_to_tokens": 1}]), "must not set `up_to_tokens`"),
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
