//! Rules Q1 to Q4: the data and the rights of a post hook, and that it runs exactly once.

use llmux_tests::{
    Turn, kinds, scripted, turn,
    world::{builder, built, chat, said},
};
use serde_json::{Value as Json, json};

fn response(text: &str) -> Json {
    turn::response(&json!(text))
}

const TEXT: &str = "/choices/0/message/content";

kinds! {
    async fn q1_a_post_hook_edits_the_response(world: World) {
        let provider = scripted([]);
        let edits = json!({"post": [{"do": "set", "pointer": TEXT, "value": "edited"}]});
        let sees = json!({"post": [{"do": "tell", "what": format!("body:{TEXT}")}]});
        let client = world.client(&provider, [world.probe("a", 1, sees), world.probe("b", 2, edits)]).await;
        assert_eq!(said(&client.send(chat("m")).await), "edited");
        assert_eq!(world.of("post"), ["b", "a", &format!("a body:{TEXT} = \"edited\"")], "later hooks see the edit");
    }

    async fn q1_a_post_hook_replaces_the_response(world: World) {
        let provider = scripted([]);
        let replaces = json!({"post": [{"do": "recover", "body": response("another")}]});
        let client = world.client(&provider, [world.probe("a", 1, replaces)]).await;
        assert_eq!(said(&client.send(chat("m")).await), "another");
    }

    async fn q1_a_post_hook_recovers_from_a_providers_error(world: World) {
        let provider = scripted([Turn::error(503, "down")]);
        let recovers = json!({"post": [{"do": "recover", "body": response("saved")}]});
        let client = built(builder(&provider).fallbacks("m", ["n"]), [world.probe("a", 1, recovers)]).await;
        let reply = client.send(chat("m")).await;
        assert_eq!((said(&reply).as_str(), reply.attempts()), ("saved", 1), "recovered, without a fallback");
    }

    async fn q1_a_post_hook_converts_a_response_into_an_error(world: World) {
        let provider = scripted([]);
        let converts = json!({"post": [{"do": "convert", "status": 451, "message": "not this"}]});
        let sees = json!({"post": [{"do": "tell", "what": "kind"}]});
        let client = world.client(&provider, [world.probe("a", 1, sees), world.probe("b", 2, converts)]).await;
        assert_eq!(said(&client.send(chat("m")).await), "!451 scripted: not this");
        assert_eq!(world.of("post"), ["b", "a", "a kind = error 451 scripted"]);
    }

    async fn q1_a_post_hook_edits_an_error(world: World) {
        let provider = scripted([Turn::error(400, "secret inside")]);
        let edits = json!({"post": [{"do": "set", "pointer": "/error/message", "value": "cleaned"}]});
        let client = world.client(&provider, [world.probe("a", 1, edits)]).await;
        assert_eq!(said(&client.send(chat("m")).await), "!400 upstream_type: cleaned");
    }

    async fn q2_post_hooks_run_for_an_answer_an_error_and_a_short_circuit_alike(world: World) {
        let provider = scripted([Turn::text("fine"), Turn::error(400, "bad")]);
        let scripts = json!({
            "pre": [{"do": "only", "what": "model", "is": "o"}, {"do": "reject", "status": 403, "message": "no"}],
            "post": [{"do": "tell", "what": "kind"}],
        });
        let client = world.client(&provider, [world.probe("a", 1, scripts)]).await;
        for model in ["m", "m", "o"] {
            client.send(chat(model)).await;
        }
        let expected =
            ["a", "a kind = response", "a", "a kind = error 400 upstream_type", "a", "a kind = error 403 scripted"];
        assert_eq!(world.of("post"), expected);
    }

    async fn q3_post_hooks_are_told_cancelled_when_the_caller_left_during_the_provider(world: World) {
        let provider = scripted([Turn::hang()]);
        let scripts = json!({"pre": [{"do": "state"}], "post": [{"do": "tell", "what": "kind"}]});
        let client = world.client(&provider, [world.probe("a", 1, scripts), world.probe("b", 2, json!({}))]).await;
        world.leave("b.pre", client.send(chat("m"))).await;
        world.finish(&client).await;
        assert_eq!(world.of("post"), ["b", "a", "a kind = error 499 cancelled"], "each once");
        assert_eq!(provider.open(), 0, "the call of the provider is dropped");
    }

    async fn q3_post_hooks_are_told_cancelled_when_the_caller_left_during_a_pre_hook(world: World) {
        let provider = scripted([]);
        let waits = json!({
            "pre": [{"do": "hold_mark"}, {"do": "sleep", "ms": 5000}],
            "post": [{"do": "tell", "what": "kind"}],
        });
        let plugins = [world.probe("a", 1, json!({})), world.probe("b", 2, waits), world.probe("c", 3, json!({}))];
        let client = world.client(&provider, plugins).await;
        world.leave("b.pre", client.send(chat("m"))).await;
        world.finish(&client).await;
        assert_eq!(world.of("pre"), ["a", "b", "b future dropped"], "the waiting hook is dropped, no other begins");
        assert_eq!(world.of("post"), ["b", "b kind = error 499 cancelled", "a"]);
        assert_eq!(provider.calls().len(), 0, "calls of the provider");
    }

    async fn q3_the_post_chain_finishes_without_a_caller_who_left_during_it(world: World) {
        let provider = scripted([]);
        let waits = json!({"post": [{"do": "sleep", "ms": 5000}, {"do": "tell", "what": "kind"}]});
        let sees = json!({"post": [{"do": "tell", "what": "kind"}]});
        let client = world.client(&provider, [world.probe("a", 1, sees), world.probe("b", 2, waits)]).await;
        world.leave("b.post", client.send(chat("m"))).await;
        world.finish(&client).await;
        assert_eq!(world.of("post"), ["b", "b kind = response", "a", "a kind = response"]);
    }

    async fn q3_every_attempt_runs_its_post_hooks_once(world: World) {
        let provider = scripted([Turn::error(500, "down"), Turn::error(500, "down"), Turn::text("up")]);
        let plugin = world.probe("a", 1, json!({"post": [{"do": "tell", "what": "attempt"}]}));
        let client = built(builder(&provider).fallbacks("m", ["n", "o"]), [plugin]).await;
        assert_eq!(said(&client.send(chat("m")).await), "up");
        assert_eq!(world.of("post"), ["a", "a attempt = 1", "a", "a attempt = 2", "a", "a attempt = 3"]);
    }

    async fn q4_a_post_hook_reads_the_request_as_it_was_sent(world: World) {
        let provider = scripted([]);
        let scripts = json!({
            "pre": [{"do": "set", "pointer": "/seed", "value": 7}],
            "post": [{"do": "tell", "what": "request:/seed"}, {"do": "tell", "what": "request:/model"}],
        });
        let shared = std::sync::Arc::new(provider.clone());
        let builder = builder(&provider).provider("q", shared, [("alias", "real-name")]);
        let client = built(builder, [world.probe("a", 1, scripts)]).await;
        client.send(chat("alias")).await;
        assert_eq!(world.of("post"), ["a", "a request:/seed = 7", "a request:/model = \"real-name\""]);
    }
}
