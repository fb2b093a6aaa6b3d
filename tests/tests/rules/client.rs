//! Rules F1 to F4: the client's calls to providers, and the data that it passes on.

use std::{sync::Arc, time::Duration};

use llmux_core::{
    Client, Endpoint, Request,
    client::RetryConfig,
    provider::{OpenAi, Provider},
};
use llmux_testing::{ScriptedResponse, ScriptedServer};
use llmux_tests::{
    ScriptedProvider, Turn, kinds, scripted, turn,
    world::{all, builder, built, chat, header, plugins, said},
};
use serde_json::json;

/// Returns a client's builder with this provider and the default retries and timeouts.
fn patient(provider: &ScriptedProvider) -> llmux_core::ClientBuilder {
    Client::builder().provider("p", Arc::new(provider.clone()), ["m", "n", "o"]).plugins(plugins())
}

kinds! {
    async fn f1_a_retryable_failure_is_tried_again_without_rerunning_hooks(world: World) {
        for status in [408, 429, 500, 503] {
            let provider = scripted([Turn::error(status, "later"), Turn::text("fine")]);
            let name = format!("it-{status}");
            let client = built(patient(&provider), [world.probe(&name, 1, json!({}))]).await;
            let reply = client.send(chat("m")).await;
            assert_eq!((said(&reply).as_str(), reply.attempts()), ("fine", 1), "after {status}");
            assert_eq!(provider.calls().len(), 2, "calls of the provider after {status}");
            assert_eq!(world.count(&format!("{name}.pre")), 1, "pre hooks after {status}");
            assert_eq!(world.count(&format!("{name}.post")), 1, "post hooks after {status}");
        }
    }

    async fn f1_any_other_failure_is_not_tried_again(world: World) {
        for status in [400, 401, 404, 422] {
            let provider = scripted([Turn::error(status, "no")]);
            let client = built(patient(&provider), [world.probe(&format!("it-{status}"), 1, json!({}))]).await;
            // A 401 reaches the client in another form (F6).
            let expected = match status {
                401 => "!502 provider_error: the provider refused the request with status 401: no".to_owned(),
                _ => format!("!{status} upstream_type: no"),
            };
            assert_eq!(said(&client.send(chat("m")).await), expected);
            assert_eq!(provider.calls().len(), 1, "calls after {status}");
        }
    }

    async fn f1_a_deployment_is_tried_to_its_limit_and_then_the_next(world: World) {
        let first = scripted((0..9).map(|_| Turn::error(500, "down")));
        let second = scripted([Turn::text("from q")]);
        let other: Arc<dyn Provider> = Arc::new(second.clone());
        let builder = patient(&first).provider("q", other, ["m"]);
        let client = built(builder, [world.probe("a", 1, json!({}))]).await;
        assert_eq!(said(&client.send(chat("m")).await), "from q");
        assert_eq!(first.calls().len(), 3, "one try and two retries");
        assert_eq!(world.chain(), ["a.pre", "a.post"], "hooks do not rerun");
    }

    async fn f1_retry_after_is_honored(world: World) {
        let asks = turn::provider_error(429, "slow down");
        let asks = llmux_core::Error::from_parts(
            asks.kind(), 429, json!({"message": "slow down"}), Some(Duration::from_secs(3)));
        let provider = scripted([Turn::fail(asks), Turn::text("fine")]);
        let client = built(patient(&provider), [world.probe("a", 1, json!({}))]).await;
        let begun = tokio::time::Instant::now();
        assert_eq!(said(&client.send(chat("m")).await), "fine");
        assert_eq!(begun.elapsed().as_secs(), 3, "seconds of a clock that is held");
    }

    async fn f1_a_stream_that_cannot_be_opened_is_tried_again(world: World) {
        let provider = scripted([Turn::error(503, "later"), Turn::say(vec![json!("fine")])]);
        let client = built(patient(&provider), [world.probe("a", 1, json!({}))]).await;
        assert_eq!(all(client.stream(chat("m")).await).await, ["fine"]);
        assert_eq!(world.of("pre_stream").len(), 1, "hooks do not rerun");
    }

    async fn f2_a_fallback_is_a_new_attempt_through_the_whole_pipeline(world: World) {
        let provider = scripted([Turn::error(500, "down"), Turn::error(500, "down"), Turn::text("from o")]);
        let scripts = json!({
            "pre": [
                {"do": "tell", "what": "attempt"}, {"do": "tell", "what": "model"}, {"do": "tell", "what": "value:k"},
                {"do": "value", "key": "k", "value": "left"},
                {"do": "only", "what": "attempt", "is": "1"}, {"do": "header", "name": "x-first", "value": "1"},
            ],
        });
        let client = built(builder(&provider).fallbacks("m", ["n", "o"]), [world.probe("a", 1, scripts)]).await;
        let reply = client.send(chat("m")).await;
        assert_eq!((said(&reply).as_str(), reply.attempts(), reply.deployment()), ("from o", 3, Some("p/o")));
        let attempt = |number, model| [
            "a".to_owned(), format!("a attempt = {number}"), format!("a model = {model}"), "a value:k = -".to_owned(),
        ];
        assert_eq!(world.of("pre"), [attempt(1, "m"), attempt(2, "n"), attempt(3, "o")].concat(), "values are fresh");
        assert_eq!(header(reply.headers(), "x-first"), None, "response headers are fresh");
        assert_eq!(provider.calls()[2]["model"], "o");
    }

    async fn f2_a_request_names_its_own_fallbacks(world: World) {
        let provider = scripted([Turn::error(500, "down"), Turn::text("from n")]);
        let client = built(builder(&provider).fallbacks("m", ["o"]), [world.probe("a", 1, json!({}))]).await;
        let reply = client.send(chat("m").with_fallbacks(["n"])).await;
        assert_eq!((said(&reply).as_str(), reply.deployment()), ("from n", Some("p/n")));
    }

    async fn f2_a_fallback_keeps_the_snapshot(world: World) {
        let gate = world.text_path("gate");
        let provider = scripted([Turn::error(500, "down")]);
        let waits = json!({"pre": [{"do": "wait_until", "path": gate}]});
        let client = built(builder(&provider).fallbacks("m", ["n"]), [world.probe("a", 1, waits)]).await;
        let sender = client.clone();
        let request = tokio::spawn(async move { sender.send(chat("m")).await.attempts() });
        world.wait_for("a.pre", 1).await;
        client.plugins().load(world.probe("late", 2, json!({}))).await.expect("loaded");
        std::fs::write(&gate, "").expect("the gate opens");
        assert_eq!(request.await.expect("no panic"), 2);
        assert_eq!(world.chain(), ["a.pre", "a.post", "a.pre", "a.post"], "the second attempt's hooks");
    }

    async fn f2_when_all_fail_the_last_error_is_the_callers(world: World) {
        let provider = scripted([Turn::error(500, "first"), Turn::error(503, "second")]);
        let client = built(builder(&provider).fallbacks("m", ["n"]), [world.probe("a", 1, json!({}))]).await;
        assert_eq!(said(&client.send(chat("m")).await), "!503 upstream_type: second");
    }

    async fn f3_an_error_keeps_what_the_provider_said(world: World) {
        let provider = scripted([Turn::error(418, "teapot"), Turn::error(418, "teapot")]);
        let client = built(builder(&provider), [world.probe("a", 1, json!({}))]).await;
        let error = client.send(chat("m")).await.result.expect_err("an error");
        assert_eq!((error.status(), error.error_type(), error.code()), (418, "upstream_type", Some("upstream_code")));
        let body: serde_json::Value = serde_json::from_slice(&error.body()).expect("JSON");
        let expected = json!({"error": {"message": "teapot", "type": "upstream_type", "param": null, "code": "upstream_code"}});
        assert_eq!(body, expected, "the OpenAI shape");
    }

    async fn f4_unknown_fields_pass_untouched_in_both_directions(world: World) {
        const ANSWER: &str = r#"{"id":"x", "new_field":{"z":1.50,"a":[ ]}, "choices":[{"odd":1e2}]}"#;
        let provider = scripted([Turn::raw(vec![ANSWER])]);
        let client = built(builder(&provider), [world.probe("a", 1, json!({}))]).await;
        let body = r#"{"model":"m", "future":{"z":1.50,"a":[ ]}, "messages":[]}"#;
        let reply = client.send(Request::new(Endpoint::ChatCompletions, body).expect("a request")).await;
        assert_eq!(provider.bodies(), [body], "to the provider");
        assert_eq!(reply.result.expect("a response").to_bytes(), ANSWER, "to the caller");
    }
}

/// Returns a provider that is shipped, connected over sockets in real time.
fn over(upstream: &ScriptedServer) -> Arc<dyn Provider> {
    Arc::new(OpenAi::builder("up", upstream.base_url()).build().expect("a provider"))
}

const OK: &str =
    r#"{"id":"x","choices":[{"index":0,"message":{"role":"assistant","content":"fine"}}],"new":1.50}"#;

#[tokio::test]
async fn f1_an_unreachable_provider_is_passed_over_and_with_sent_a_broken_answer_is_asked_for_again() {
    let up =
        ScriptedServer::start([ScriptedResponse::raw("nonsense"), ScriptedResponse::json(200, OK)]).await;
    let retry = RetryConfig::default().with_initial_backoff(Duration::from_millis(1)).with_sent(true);
    // Nobody listens on the first one any more.
    let gone = ScriptedServer::start([]).await;
    let unreachable = over(&gone);
    drop(gone);
    let client = Client::builder()
        .provider("gone", unreachable, ["m"])
        .provider("up", over(&up), ["m"])
        .retry(retry)
        .build()
        .await
        .expect("a client");
    let reply = client.send(chat("m")).await;
    assert_eq!((said(&reply).as_str(), reply.deployment()), ("fine", Some("up/m")));
}

#[tokio::test]
async fn f3_f4_over_a_socket_errors_and_unknown_fields_pass() {
    let error = r#"{"error":{"message":"no","type":"odd","param":"x","code":"c7","extra":[1]}}"#;
    let up =
        ScriptedServer::start([ScriptedResponse::json(200, OK), ScriptedResponse::json(422, error)]).await;
    let client = Client::builder().provider("up", over(&up), ["m"]).build().await.expect("a client");
    let body = r#"{"model":"m","messages":[],"future":[1.50, 2]}"#;
    let request = || Request::new(Endpoint::ChatCompletions, body).expect("a request");
    let response = client.send(request()).await.result.expect("a response");
    assert_eq!(response.to_bytes(), OK, "the response");
    assert_eq!(up.requests()[0].body, body, "the request");
    let refused = client.send(request()).await.result.expect_err("an error");
    let parse = |text: &[u8]| serde_json::from_slice::<serde_json::Value>(text).expect("JSON");
    assert_eq!((refused.status(), parse(&refused.body())), (422, parse(error.as_bytes())), "the error");
}
