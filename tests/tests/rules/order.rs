//! Rules O1 to O4: who runs when, and on which version of the pipeline.

use llmux_tests::{
    Scripted, Turn, both,
    world::{all, built, builder, chat, said},
};
use serde_json::json;

both! {
    async fn o1_pre_hooks_run_lowest_first_and_post_hooks_in_reverse(world: World) {
        let provider = Scripted::new([]);
        let plugins = [world.probe("b", 20, json!({})), world.probe("a", -5, json!({})), world.probe("c", 30, json!({}))];
        let client = world.client(&provider, plugins).await;
        client.send(chat("m")).await;
        let expected = ["a.pre", "b.pre", "c.pre", "c.post", "b.post", "a.post"];
        assert_eq!(world.chain(), expected, "the chain of a request");
    }
}
