//! Rules P1 to P6: the rights of a pre hook, and the outcome of a short circuit.

use llmux_core::pipeline::Value;
use llmux_tests::{
    Turn, kinds, scripted,
    world::{all, builder, built, chat, said},
};
use serde_json::{Value as Json, json};

/// Returns a response with this text.
fn response(text: &str) -> Json {
    llmux_testing::turn::response(&json!(text))
}

fn reject(status: u16) -> Json {
    json!({"do": "reject", "status": status, "message": "no"})
}

kinds! {
    async fn p1_an_edit_reaches_the_later_hooks_and_the_provider(world: World) {
        let provider = scripted([]);
        let edits = json!({"pre": [
            {"do": "set", "pointer": "/temperature", "value": 0.5},
            {"do": "remove", "pointer": "/messages/0"},
        ]});
        let sees = json!({"pre": [{"do": "tell", "what": "body:/temperature"}, {"do": "tell", "what": "body:/messages"}]});
        let client = world.client(&provider, [world.probe("a", 1, edits), world.probe("b", 2, sees)]).await;
        client.send(chat("m")).await;
        assert_eq!(world.of("pre"), ["a", "b", "b body:/temperature = 0.5", "b body:/messages = []"]);
        assert_eq!(provider.calls()[0]["temperature"], 0.5, "what the provider was sent");
    }

    async fn p1_a_hook_that_does_nothing_leaves_the_body_byte_for_byte(world: World) {
        let provider = scripted([]);
        let looks = json!({"pre": [{"do": "tell", "what": "body:/messages/0/content"}]});
        let client = world.client(&provider, [world.probe("a", 1, looks)]).await;
        let body = r#"{ "model" : "m", "n":1.50, "messages": [{"role":"user","content":"h\u0069"}], "x": {"b":1,"a":2e1} }"#;
        let request = llmux_core::Request::new(llmux_core::Endpoint::ChatCompletions, body).expect("a request");
        client.send(request).await;
        assert_eq!(provider.bodies(), [body]);
    }

    async fn p2_a_response_short_circuit_calls_neither_provider_nor_later_pre_hooks(world: World) {
        let provider = scripted([]);
        let answers = json!({"pre": [{"do": "respond", "body": response("cached"), "metadata": {"hit": true, "age": 3}}]});
        let sees = json!({"post": [{"do": "tell", "what": "value:hit"}, {"do": "tell", "what": "kind"}]});
        let plugins = [world.probe("a", 1, sees), world.probe("b", 2, answers), world.probe("c", 3, json!({}))];
        let client = world.client(&provider, plugins).await;
        let reply = client.send(chat("m")).await;
        assert_eq!(said(&reply), "cached");
        assert_eq!(provider.calls().len(), 0, "calls of the provider");
        assert_eq!(world.of("pre"), ["a", "b"], "the pre chain ends at the short circuit");
        assert_eq!(
            world.of("post"),
            ["b", "a", "a value:hit = Boolean(true)", "a kind = response"],
            "metadata is there before the post hooks run"
        );
        assert_eq!(reply.value("age"), Some(Value::Integer(3)), "metadata reaches the caller's context");
    }

    async fn p2_the_metadata_of_an_error_short_circuit_is_merged_too(world: World) {
        let provider = scripted([]);
        let answers = json!({
            "pre": [{"do": "reject", "status": 429, "message": "no", "metadata": {"why": "quota"}}],
            "post": [{"do": "tell", "what": "value:why"}],
        });
        let client = world.client(&provider, [world.probe("a", 1, answers)]).await;
        client.send(chat("m")).await;
        assert_eq!(world.of("post"), ["a", "a value:why = String(\"quota\")"]);
    }

    async fn p3_an_error_short_circuit_passes_the_post_hooks_which_may_recover(world: World) {
        let provider = scripted([]);
        let recovers = json!({"post": [{"do": "tell", "what": "kind"}, {"do": "recover", "body": response("recovered")}]});
        let plugins = [world.probe("a", 1, recovers), world.probe("b", 2, json!({"pre": [reject(429)]}))];
        let client = built(builder(&provider).fallbacks("m", ["n"]), plugins).await;
        let reply = client.send(chat("m")).await;
        assert_eq!(said(&reply), "recovered");
        assert_eq!(world.of("post"), ["b", "a", "a kind = error 429 scripted"]);
        assert_eq!(reply.attempts(), 1, "a recovered request needs no fallback");
    }

    async fn p4_a_rejected_request_goes_on_to_its_fallback(world: World) {
        let provider = scripted([Turn::text("from n")]);
        let rejects = json!({"pre": [{"do": "only", "what": "model", "is": "m"}, reject(429)]});
        let client = built(builder(&provider).fallbacks("m", ["n"]), [world.probe("a", 1, rejects)]).await;
        let reply = client.send(chat("m")).await;
        assert_eq!((said(&reply).as_str(), reply.attempts()), ("from n", 2), "by default a fallback is allowed");
    }

    async fn p4_a_short_circuit_may_forbid_the_fallback(world: World) {
        let provider = scripted([]);
        let rejects = json!({"pre": [{"do": "reject", "status": 403, "message": "no", "allow_fallback": false}]});
        let client = built(builder(&provider).fallbacks("m", ["n"]), [world.probe("a", 1, rejects)]).await;
        let reply = client.send(chat("m")).await;
        assert_eq!((said(&reply).as_str(), reply.attempts()), ("!403 scripted: no", 1));
        assert_eq!(all(client.stream(chat("m")).await).await, ["!!403 scripted: no"], "a stream");
        assert_eq!(provider.calls().len(), 0, "calls of the provider");
    }

    async fn p5_the_callers_request_is_never_changed(world: World) {
        let provider = scripted([Turn::error(500, "down")]);
        let edits = json!({"pre": [
            {"do": "tell", "what": "body:/n"},
            {"do": "set", "pointer": "/n", "value": 2},
            {"do": "set", "pointer": "/messages", "value": []},
        ]});
        let client = built(builder(&provider).fallbacks("m", ["n"]), [world.probe("a", 1, edits)]).await;
        let request = chat("m");
        let kept = request.clone();
        let before = kept.body().to_bytes();
        client.send(request).await;
        assert_eq!(kept.body().to_bytes(), before, "the caller's own value");
        let expected = ["a", "a body:/n = -", "a", "a body:/n = -"];
        assert_eq!(world.of("pre"), expected, "a fallback starts from what the caller sent");
    }

    async fn p6_another_model_is_routed_anew(world: World) {
        let (first, second) = (scripted([]), scripted([Turn::text("from x")]));
        let renames = json!({"pre": [{"do": "set", "pointer": "/model", "value": "x"}]});
        let sees = json!({
            "pre": [{"do": "tell", "what": "model"}], "post": [{"do": "tell", "what": "deployment"}],
        });
        let other = std::sync::Arc::new(second.clone());
        let builder = builder(&first).provider("q", other, [("x", "x-upstream")]);
        let client = built(builder, [world.probe("a", 1, renames), world.probe("b", 2, sees)]).await;
        assert_eq!(said(&client.send(chat("m")).await), "from x");
        assert_eq!(world.of("pre"), ["a", "b", "b model = x"]);
        assert!(world.of("post").contains(&"b deployment = q/x-upstream".to_owned()), "{:?}", world.lines());
        assert_eq!((first.calls().len(), second.calls()[0]["model"].as_str()), (0, Some("x-upstream")));
    }

    async fn p6_an_unknown_model_is_refused_only_after_the_pre_chain(world: World) {
        let provider = scripted([]);
        let saves = json!({"pre": [
            {"do": "only", "what": "header:x-save", "is": "yes"},
            {"do": "set", "pointer": "/model", "value": "m"},
        ]});
        let client = world.client(&provider, [world.probe("a", 1, saves)]).await;
        let reply = client.send(chat("nobody-serves-it")).await;
        let error = reply.result.expect_err("an unknown model");
        assert_eq!((error.status(), error.code()), (404, Some("model_not_found")));
        assert_eq!(world.chain(), ["a.pre", "a.post"], "the chain ran all the same");
        let mut headers = http::HeaderMap::new();
        headers.insert("x-save", http::HeaderValue::from_static("yes"));
        let reply = client.send(chat("nobody-serves-it").with_headers(headers)).await;
        assert_eq!(said(&reply), "again", "a pre hook renamed it");
    }

    async fn p6_an_unknown_model_may_be_answered_by_a_pre_hook(world: World) {
        let provider = scripted([]);
        let answers = json!({"pre": [{"do": "respond", "body": response("mine")}]});
        let client = world.client(&provider, [world.probe("a", 1, answers)]).await;
        assert_eq!(said(&client.send(chat("nobody-serves-it")).await), "mine");
    }
}
