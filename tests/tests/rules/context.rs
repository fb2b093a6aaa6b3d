//! Rules X1 to X5: the context that the hooks of a request share.

use std::sync::Arc;

use http::{HeaderMap, HeaderValue};
use llmux_core::pipeline::{Identity, Value, is_reserved_header};
use llmux_tests::{
    Capture, Turn, kinds, scripted, turn,
    world::{all, builder, built, chat, header, said},
};
use serde_json::{Value as Json, json};

fn tell(what: &[&str]) -> Json {
    what.iter().map(|what| json!({"do": "tell", "what": what})).collect()
}

kinds! {
    async fn x1_the_context_is_whole_before_the_first_hook_for_streams_too(world: World) {
        let what = [
            "request_id", "endpoint", "model", "attempt", "streaming", "started",
            "key_id", "user", "team", "client", "header:X-Tenant", "header:authorization", "header:none",
        ];
        for streams in [false, true] {
            let provider = scripted([]);
            let name = format!("it.{streams}");
            let hooks = if streams { ["pre_stream", "chunk", "post_stream", "complete"] } else { ["pre", "pre", "post", "complete"] };
            let scripts: serde_json::Map<_, _> = hooks.iter().map(|hook| ((*hook).to_owned(), tell(&what))).collect();
            let client = world.client(&provider, [world.probe(&name, 1, Json::Object(scripts))]).await;
            let mut headers = HeaderMap::new();
            headers.insert("x-tenant", HeaderValue::from_static("acme"));
            headers.insert("authorization", HeaderValue::from_static("Bearer sk-secret"));
            let identity =
                Identity { key_id: "key-1".into(), user: Some("ann".into()), team: Some("red".into()) };
            let request = chat("m").with_headers(headers).with_identity(Some(Arc::new(identity))).with_request_id("id-7");
            let request = request.with_client(Some("2001:db8::7".parse().expect("an address")));
            if streams {
                all(client.stream(request).await).await;
            } else {
                client.send(request).await;
            }
            world.finish(&client).await;
            let streaming = format!("streaming = {streams}");
            let expected = [
                "request_id = id-7", "endpoint = chat/completions", "model = m",
                "attempt = 1", &streaming, "started = true", "key_id = key-1", "user = ann", "team = red", "client = 2001:db8::7",
                "header:X-Tenant = acme", "header:authorization = [redacted]", "header:none = -",
            ];
            for hook in hooks {
                for line in expected {
                    assert_eq!(world.count(&format!("{name}.{hook} {line}")), 1, "{hook}: {line}; {:#?}", world.of(hook));
                }
            }
        }
    }

    async fn x1_a_context_is_its_requests_own_for_as_long_as_anything_holds_it(world: World) {
        let provider = scripted([]);
        let gate = world.text_path("gate");
        let complete = json!([
            {"do": "tell", "what": "request_id"}, {"do": "only", "what": "model", "is": "m"},
            {"do": "wait_until", "path": gate}, {"do": "tell", "what": "request_id"},
            {"do": "tell", "what": "value:k"}, {"do": "state"},
        ]);
        let pre = json!([{"do": "state"}, {"do": "only", "what": "model", "is": "m"}, {"do": "value", "key": "k", "value": 1}]);
        let client = world.client(&provider, [world.probe("a", 1, json!({"pre": pre, "complete": complete}))]).await;
        client.send(chat("m")).await;
        world.wait_for("a.complete", 1).await;
        for _ in 0..20 {
            client.send(chat("n")).await;
        }
        world.wait_for("a.complete", 21).await;
        std::fs::write(gate, "").expect("a gate");
        world.finish(&client).await;
        let told = world.of("complete");
        let of_first: Vec<_> = told.iter().filter(|line| **line == told[1]).collect();
        assert_eq!(of_first.len(), 2, "the same request before and after twenty others: {told:#?}");
        assert_eq!(told[told.len() - 2..], ["a value:k = Integer(1)", "a state = 2"], "what the request left in it");
    }

    async fn x2_values_keep_their_type_and_give_nothing_as_another(world: World) {
        let provider = scripted([]);
        let set = |key: &str, value: Json| json!({"do": "value", "key": key, "value": value});
        let sets = json!({"pre": [
            set("s", json!("text")), set("i", json!(-7)), set("f", json!(1.5)), set("b", json!(true)),
            set("j", json!({"a": [1]})),
        ]});
        let sees = json!({"pre": tell(&["typed:s", "typed:i", "typed:f", "typed:b", "typed:j", "typed:missing"])});
        let client = world.client(&provider, [world.probe("a", 1, sets), world.probe("b", 2, sees)]).await;
        let reply = client.send(chat("m")).await;
        assert_eq!(world.of("pre").split_off(2), [
            "b typed:s = Some(\"text\") None None None None",
            "b typed:i = None Some(-7) None None None",
            "b typed:f = None None Some(1.5) None None",
            "b typed:b = None None None Some(true) None",
            "b typed:j = None None None None Some(\"{\\\"a\\\":[1]}\")",
            "b typed:missing = None None None None None",
        ]);
        assert_eq!(reply.value("i"), Some(Value::Integer(-7)), "an embedder reads them too");
    }

    async fn x3_plugins_add_response_headers(world: World) {
        let provider = scripted([]);
        let sets = json!({
            "pre": [{"do": "header", "name": "x-cache", "value": "miss"}, {"do": "header", "name": "x-pre", "value": "1"}],
            "post": [{"do": "header", "name": "X-Cache", "value": "hit"}],
        });
        let client = world.client(&provider, [world.probe("a", 1, sets)]).await;
        let reply = client.send(chat("m")).await;
        assert_eq!(header(reply.headers(), "x-cache"), Some("hit"), "the last one counts");
        let reply = client.stream(chat("m")).await;
        assert_eq!(header(reply.headers(), "x-pre"), Some("1"), "a stream's headers are there before its chunks");
    }

    async fn x3_the_servers_own_headers_are_refused(world: World) {
        let logs = Capture::llmux();
        let reserved = [
            "connection", "content-encoding", "content-length", "content-type", "Keep-Alive", "proxy-connection", "TE",
            "trailer", "transfer-encoding", "upgrade", "X-Request-Id",
        ];
        for name in reserved {
            assert!(is_reserved_header(&name.parse().expect("a name")), "{name}");
            let provider = scripted([]);
            let sets = json!({"pre": [{"do": "header", "name": name, "value": "0"}]});
            let client = world.client(&provider, [world.probe("a", 1, sets)]).await;
            let reply = client.send(chat("m")).await;
            assert!(reply.headers().is_empty(), "{:?}", reply.headers());
            assert_eq!(client.plugins().list()[0].hooks[0].failures, 1, "{name}");
            // The SDK's words for the code INVALID.
            assert!(!logs.with(&[&format!("`{name}`"), "is not valid"]).is_empty(), "{name}");
        }
    }

    async fn x4_each_instance_has_a_state_of_its_own_for_each_request(world: World) {
        let provider = scripted([Turn::error(500, "down")]);
        let state = json!([{"do": "state"}]);
        let counts = json!({"pre": state, "post": state, "complete": state});
        let plugins = [world.probe("a", 1, counts), world.probe("b", 2, json!({"post": state, "complete": state}))];
        let client = built(builder(&provider).fallbacks("m", ["n"]), plugins).await;
        client.send(chat("m")).await;
        world.finish(&client).await;
        let of = |name: &str| -> Vec<String> {
            let state = |line: &String| line.starts_with(name) && line.contains("state");
            world.lines().into_iter().filter(state).collect()
        };
        assert_eq!(of("a"), [
            "a.pre state = 1", "a.post state = 2", "a.pre state = 3", "a.post state = 4", "a.complete state = 5",
            "a.state dropped at 5",
        ], "kept over attempts, dropped once, after on_complete");
        assert_eq!(of("b"), ["b.post state = 1", "b.post state = 2", "b.complete state = 3", "b.state dropped at 3"]);
    }

    async fn x4_a_state_is_dropped_before_its_instance(world: World) {
        let provider = scripted([]);
        let client = world.client(&provider, [world.probe("a", 1, json!({"complete": [{"do": "state"}]}))]).await;
        client.send(chat("m")).await;
        world.finish(&client).await;
        let end = world.lines().split_off(4);
        assert_eq!(end, ["a.complete state = 1", "a.state dropped at 1", "a.cleanup", "a.drop"]);
    }

    async fn x5_provider_and_deployment_are_the_current_choice(world: World) {
        let (first, second) = (scripted([Turn::error(503, "down")]), scripted([]));
        let what = tell(&["provider", "deployment"]);
        let other: Arc<dyn llmux_core::provider::Provider> = Arc::new(second.clone());
        let builder = builder(&first).provider("q", other, [("m", "m-there")]);
        let scripts = json!({"pre": what, "post": what, "complete": what});
        let client = built(builder, [world.probe("a", 1, scripts)]).await;
        let reply = client.send(chat("m")).await;
        assert_eq!((said(&reply).as_str(), reply.deployment()), ("again", Some("q/m-there")));
        assert_eq!(world.of("pre"), ["a", "a provider = -", "a deployment = -"], "no provider was called yet");
        assert_eq!(world.of("post"), ["a", "a provider = q", "a deployment = q/m-there"], "the retry elsewhere");
        client.send(chat("nobody-serves-it")).await;
        assert_eq!(world.of("post").split_off(3), ["a", "a provider = -", "a deployment = -"], "none");
        world.finish(&client).await;
    }

    async fn x5_provider_and_deployment_are_empty_after_a_short_circuit_and_anew_in_each_attempt(world: World) {
        let answer = turn::response(&json!("mine"));
        for streams in [false, true] {
            let name = format!("it.{streams}");
            let pre = json!([{"do": "only", "what": "model", "is": "n"}, {"do": "respond", "body": answer}]);
            let what = tell(&["provider", "deployment"]);
            let after = if streams { "post_stream" } else { "post" };
            let provider = scripted([Turn::error(503, "down")]);
            let scripts = json!({"pre": pre, after: what, "complete": what});
            let client = built(builder(&provider).fallbacks("m", ["n"]), [world.probe(&name, 1, scripts)]).await;
            if streams {
                assert_eq!(all(client.stream(chat("m")).await).await[0], "mine");
            } else {
                assert_eq!(said(&client.send(chat("m")).await), "mine");
            }
            world.finish(&client).await;
            let [called, empty] = ["provider = p", "provider = -"].map(|line| format!("{name} {line}"));
            let of = |hook: &str| -> Vec<String> {
                world.of(hook).into_iter().filter(|line| line.starts_with(&format!("{name} provider"))).collect()
            };
            assert_eq!(of(after), [called, empty.clone()], "the first attempt called the provider");
            assert_eq!(of("complete"), [empty], "the last one did not");
        }
    }
}
