//! Rules E1 to E4: the outcome of a request when a plugin itself fails.

use std::time::Duration;

use llmux_core::{
    ErrorKind,
    pipeline::PipelineConfig,
    plugins::{HookInfo, OnError, PluginError},
};
use llmux_tests::{
    Capture, Kind, Turn, kinds, scripted, turn,
    world::{all, builder, built, chat, header, said},
};
use serde_json::{Value as Json, json};

/// Returns the steps that fail. Each ends a script.
fn failures() -> [(&'static str, Json); 3] {
    [
        ("error", json!({"do": "fail", "message": "broke"})),
        ("panic", json!({"do": "panic", "message": "broke"})),
        ("timeout", json!({"do": "sleep", "ms": 11_000})),
    ]
}

/// Returns edits of everything that a hook can edit, followed by a failure.
fn edits_then(pointer: &str, failure: &Json) -> Json {
    json!([
        {"do": "value", "key": "k", "value": "from the failed"},
        {"do": "header", "name": "x-failed", "value": "yes"},
        {"do": "set", "pointer": pointer, "value": "from the failed"},
        failure,
    ])
}

/// Returns the counts of a hook, as the operator sees them.
fn counts(client: &llmux_core::Client, instance: &str, hook: &str) -> HookInfo {
    let info = client.plugins().list().into_iter().find(|info| info.name == instance).expect("an instance");
    info.hooks.into_iter().find(|info| info.hook == hook).expect("a hook that was called")
}

const FAILURE: &str = "!500 plugin_failure: a plugin failed while it handled this request";

kinds! {
    async fn e1_a_failed_pre_hook_is_rolled_back(world: World) {
        for (kind, failure) in failures() {
            let provider = scripted([]);
            let before = json!({"pre": [
                {"do": "value", "key": "k", "value": "before"}, {"do": "set", "pointer": "/user", "value": "before"},
            ]});
            let fails = json!({"pre": edits_then("/user", &failure)});
            let sees = json!({"pre": [{"do": "tell", "what": "value:k"}, {"do": "tell", "what": "body:/user"}]});
            let (a, b, c) = (format!("a-{kind}"), format!("b-{kind}"), format!("c-{kind}"));
            let plugins = [world.probe(&a, 1, before), world.probe(&b, 2, fails), world.probe(&c, 3, sees)];
            let client = world.client(&provider, plugins).await;
            let reply = client.send(chat("m")).await;
            assert_eq!(world.count(&format!("{c}.pre value:k = String(\"before\")")), 1, "values after a {kind}");
            assert_eq!(world.count(&format!("{c}.pre body:/user = \"before\"")), 1, "the request after a {kind}");
            assert_eq!(header(reply.headers(), "x-failed"), None, "the response's headers after a {kind}");
            assert_eq!(provider.calls()[0]["user"], "before", "what the provider is sent after a {kind}");
        }
    }

    async fn e1_a_failed_post_hook_is_rolled_back(world: World) {
        for (kind, failure) in failures() {
            let place = "/choices/0/message/content";
            let provider = scripted([Turn::text("answer")]);
            let fails = json!({"post": edits_then(place, &failure)});
            let name = format!("fails-{kind}");
            let sees = json!({"post": [{"do": "tell", "what": "value:k"}, {"do": "tell", "what": format!("body:{place}")}]});
            let client = world.client(&provider, [world.probe("a", 1, sees), world.probe(&name, 2, fails)]).await;
            let reply = client.send(chat("m")).await;
            assert_eq!(said(&reply), "answer", "the response after a {kind}");
            assert_eq!(header(reply.headers(), "x-failed"), None, "the response's headers after a {kind}");
            assert_eq!(reply.value("k"), None, "values after a {kind}");
        }
        assert_eq!(world.count("a.post body:/choices/0/message/content = \"answer\""), 3, "the next hook");
        assert_eq!(world.count("a.post value:k = -"), 3, "the next hook");
    }

    async fn e1_a_failed_post_hook_that_replaced_the_outcome_is_rolled_back(world: World) {
        let provider = scripted([Turn::text("answer"), Turn::error(418, "teapot")]);
        let other = turn::response(&json!("other"));
        let fails = json!({"post": [
            {"do": "convert", "status": 500, "message": "x"},
            {"do": "recover", "body": other},
            {"do": "set", "pointer": "/id", "value": "edited"},
            {"do": "fail", "message": "broke"},
        ]});
        let client = world.client(&provider, [world.probe("a", 1, fails)]).await;
        assert_eq!(said(&client.send(chat("m")).await), "answer");
        assert_eq!(said(&client.send(chat("m")).await), "!418 upstream_type: teapot");
    }

    async fn e1_a_failed_chunk_hook_is_rolled_back(world: World) {
        for (kind, failure) in failures() {
            let provider = scripted([Turn::say(vec![json!("one")])]);
            let fails = json!({"chunk": edits_then("/choices/0/delta/content", &failure)});
            let name = format!("fails-{kind}");
            let sees = json!({"chunk": [{"do": "tell", "what": "value:k"}, {"do": "tell", "what": "delta"}]});
            let client = world.client(&provider, [world.probe("a", 1, sees), world.probe(&name, 2, fails)]).await;
            assert_eq!(all(client.stream(chat("m")).await).await, ["one"], "the chunk after a {kind}");
        }
        assert_eq!(world.count("a.chunk delta = one"), 3, "the next hook");
        assert_eq!(world.count("a.chunk value:k = -"), 3, "the next hook");
    }

    async fn e1_a_failed_end_of_stream_emits_nothing(world: World) {
        let provider = scripted([Turn::say(vec![json!("one")])]);
        let fails = json!({"post_stream": [
            {"do": "value", "key": "k", "value": 1},
            {"do": "emit", "chunk": turn::chunk(&json!("more"))},
            {"do": "fail", "message": "broke"},
        ]});
        let sees = json!({"post_stream": [{"do": "tell", "what": "value:k"}, {"do": "tell", "what": "ending"}]});
        let client = world.client(&provider, [world.probe("a", 1, sees), world.probe("b", 2, fails)]).await;
        assert_eq!(all(client.stream(chat("m")).await).await, ["one"]);
        assert_eq!(world.of("post_stream"), ["b", "a", "a value:k = -", "a ending = completed"]);
    }

    async fn e1_an_answer_that_makes_no_sense_is_a_failure_and_rolled_back(world: World) {
        let logs = Capture::llmux();
        let answers = [
            ("status", json!({"do": "reject", "status": 200, "message": "fine?"})),
            ("no-json", json!({"do": "respond_text", "text": "{oops"})),
            ("no-object", json!({"do": "respond", "body": [1]})),
        ];
        for (name, answer) in answers {
            let provider = scripted([]);
            let client =
                world.client(&provider, [world.probe(name, 1, json!({"pre": edits_then("/user", &answer)}))]).await;
            let reply = client.send(chat("m")).await;
            assert_eq!(said(&reply), "again", "{name}: the request goes on");
            assert_eq!(header(reply.headers(), "x-failed"), None, "{name}: headers are rolled back");
            assert_eq!(reply.value("k"), None, "{name}: values are rolled back");
            assert_eq!(provider.calls()[0].get("user"), None, "{name}: the request is rolled back");
            assert_eq!(counts(&client, name, "pre_hook").failures, 1, "{name}: it is counted");
            assert_eq!(logs.with(&["a plugin failed", name]).len(), 1, "{name}: it is logged: {:?}", logs.lines());
        }
    }

    async fn e1_an_end_of_a_stream_that_makes_no_sense_is_a_failure_and_rolled_back(world: World) {
        let provider = scripted([Turn::say(vec![json!("one")])]);
        let fails = edits_then("/choices/0/delta/content", &json!({"do": "end", "status": 200, "message": "fine?"}));
        let client = world.client(&provider, [world.probe("a", 1, json!({"chunk": fails}))]).await;
        assert_eq!(all(client.stream(chat("m")).await).await, ["one"], "the chunk is rolled back");
        assert_eq!(counts(&client, "a", "on_stream_chunk").failures, 1, "it is counted");
    }

    async fn e1_a_request_without_a_model_is_a_failure_and_rolled_back(world: World) {
        let provider = scripted([]);
        let breaks = json!({"pre": [{"do": "remove", "pointer": "/model"}]});
        let client = world.client(&provider, [world.probe("a", 1, breaks)]).await;
        assert_eq!(said(&client.send(chat("m")).await), "again");
        assert_eq!(counts(&client, "a", "pre_hook").failures, 1);
    }

    async fn e2_by_default_a_failure_is_logged_and_counted_and_the_request_goes_on(world: World) {
        let logs = Capture::llmux();
        for (kind, failure) in failures() {
            let provider = scripted([Turn::text("fine")]);
            let name = format!("it-{kind}");
            let plugin = world.probe(&name, 1, json!({"pre": [failure], "post": [failure]}));
            let client = world.client(&provider, [plugin]).await;
            assert_eq!(said(&client.send(chat("m")).await), "fine", "after a {kind}");
            for hook in ["pre_hook", "post_hook"] {
                let counted = counts(&client, &name, hook);
                let expected = (1, 1, u64::from(kind == "timeout"), u64::from(kind == "panic"));
                let counted = (counted.calls, counted.failures, counted.timeouts, counted.panics);
                assert_eq!(counted, expected, "calls, failures, timeouts and panics of {hook} after a {kind}");
                let failure = format!("failure={kind}");
                let logged = logs.with(&["WARN", "a plugin failed", &name, hook, &failure]);
                assert_eq!(logged.len(), 1, "the log of {hook} after a {kind}: {:#?}", logs.lines());
            }
            let metric = format!("llmux_hook_failures_total{{plugin=\"{name}\",hook=\"pre_hook\",kind=\"{kind}\"}} 1");
            let metrics = client.render_metrics();
            assert!(metrics.contains(&metric), "no `{metric}` in {metrics}");
        }
    }

    async fn e3_propagated_a_pre_hooks_failure_is_the_requests_error_which_stands(world: World) {
        let logs = Capture::llmux();
        for (kind, failure) in failures() {
            let provider = scripted([]);
            let recovers = json!({"post": [
                {"do": "tell", "what": "kind"},
                {"do": "recover", "body": turn::response(&json!("recovered"))},
            ]});
            let name = format!("secret-{kind}");
            let plugins = [
                world.probe("a", 1, recovers),
                world.probe(&name, 2, json!({"pre": [failure]})).with_on_error(OnError::Fail),
                world.probe("c", 3, json!({})),
            ];
            let client = built(builder(&provider).fallbacks("m", ["n"]), plugins).await;
            let reply = client.send(chat("m")).await;
            assert_eq!(said(&reply), FAILURE, "after a {kind}, which post hooks cannot recover");
            assert_eq!(reply.attempts(), 1, "no fallback follows a {kind}");
            let error = reply.result.expect_err("a failure");
            assert_eq!(error.kind(), ErrorKind::PluginFailure);
            let body = String::from_utf8_lossy(&error.body()).into_owned();
            assert!(!body.contains("secret") && !body.contains("broke"), "the client reads of the plugin: {body}");
            assert!(!logs.with(&["a plugin failed", &name]).is_empty(), "the log names the plugin after a {kind}");
            assert_eq!(provider.calls().len(), 0, "calls of the provider after a {kind}");
        }
        assert_eq!(world.count("a.post kind = error 500 plugin_failure"), 3, "post hooks see it");
        assert_eq!(world.of("pre").iter().filter(|name| *name == "c").count(), 0, "no later pre hook runs");
    }

    async fn e3_propagated_a_post_hooks_failure_is_the_requests_error_which_stands(world: World) {
        let provider = scripted([]);
        let recovers = json!({"post": [
            {"do": "tell", "what": "kind"},
            {"do": "recover", "body": turn::response(&json!("recovered"))},
        ]});
        let fails = json!({"post": [{"do": "fail", "message": "broke"}]});
        let plugins = [world.probe("a", 1, recovers), world.probe("b", 2, fails).with_on_error(OnError::Fail)];
        let client = built(builder(&provider).fallbacks("m", ["n"]), plugins).await;
        let reply = client.send(chat("m")).await;
        assert_eq!((said(&reply).as_str(), reply.attempts()), (FAILURE, 1));
        assert_eq!(world.of("post"), ["b", "a", "a kind = error 500 plugin_failure"]);
    }

    async fn e3_propagated_a_stream_hooks_failure_ends_the_stream(world: World) {
        let fail = json!([{"do": "fail", "message": "broke"}]);
        let expected = [
            ("pre_stream", vec![format!("!{FAILURE}")]),
            ("chunk", vec![format!("!{FAILURE}")]),
            ("post_stream", vec!["one".to_owned(), FAILURE.to_owned()]),
        ];
        for (hook, expected) in expected {
            let provider = scripted([Turn::say(vec![json!("one")])]);
            let name = format!("it-{}", hook.replace('_', "-"));
            let sees = json!({"post_stream": [{"do": "tell", "what": "ending"}]});
            let plugins =
                [world.probe("a", 1, sees), world.probe(&name, 2, json!({hook: fail})).with_on_error(OnError::Fail)];
            let client = built(builder(&provider).fallbacks("m", ["n"]), plugins).await;
            assert_eq!(all(client.stream(chat("m")).await).await, expected, "{hook}");
        }
        assert_eq!(world.count("a.post_stream ending = failed 500 plugin_failure"), 3, "{:?}", world.lines());
    }

    async fn e3_the_instance_overrides_the_manifest_which_overrides_the_global_flag(world: World) {
        let fails = json!({"fail": "m"});
        let probe_fails = || world.probe("probe", 1, json!({"pre": [{"do": "fail", "message": "broke"}]}));
        let cases = [
            ("the manifest (fail) over the flag (false)", false, world.guard(fails.clone()), FAILURE),
            ("the manifest (fail) over the flag (true)", true, world.guard(fails.clone()), FAILURE),
            ("the instance over the manifest", true, world.guard(fails).with_on_error(OnError::Continue), "again"),
            ("the flag (true), nothing said", true, probe_fails(), FAILURE),
            ("the flag (false), nothing said", false, probe_fails(), "again"),
            ("the instance over the flag (true)", true, probe_fails().with_on_error(OnError::Continue), "again"),
            ("the instance over the flag (false)", false, probe_fails().with_on_error(OnError::Fail), FAILURE),
        ];
        for (case, propagate_errors, plugin, expected) in cases {
            let provider = scripted([]);
            let config = PipelineConfig::default().with_propagate_errors(propagate_errors);
            let client = built(builder(&provider).pipeline(config), [plugin]).await;
            assert_eq!(said(&client.send(chat("m")).await), expected, "{case}");
        }
    }

    async fn e4_a_hook_that_waits_is_cancelled_at_its_timeout(world: World) {
        let config = PipelineConfig::default().with_pre_hook_timeout(Duration::from_secs(200)).with_post_hook_timeout(Duration::from_secs(50));
        let hooks =
            [("pre", 200), ("post", 50), ("pre_stream", 200), ("chunk", 50), ("post_stream", 50), ("complete", 50), ("cleanup", 50)];
        for (hook, seconds) in hooks {
            let provider = scripted([Turn::text("fine")]);
            let name = format!("it-{}", hook.replace('_', "-"));
            let waits = json!([{"do": "hold_mark"}, {"do": "sleep", "ms": 3_600_000}, {"do": "tell", "what": "model"}]);
            let pipeline = builder(&provider).pipeline(config.clone());
            let client = built(pipeline, [world.probe(&name, 1, json!({hook: waits}))]).await;
            let begun = tokio::time::Instant::now();
            match hook {
                "pre" | "post" => assert_eq!(said(&client.send(chat("m")).await), "fine", "{hook}"),
                _ => assert_eq!(all(client.stream(chat("m")).await).await, ["fine"], "{hook}"),
            }
            world.finish(&client).await;
            // The first poll is measured in real time, also by a host that is stopped for a while.
            let elapsed = begun.elapsed().as_secs();
            assert!((seconds - 10..=seconds).contains(&elapsed), "{hook}: {elapsed} seconds of a clock that is held");
            assert_eq!(world.count(&format!("{name}.{hook} future dropped")), 1, "the future of {hook}");
            let told = world.of(hook).iter().filter(|line| line.contains("model =")).count();
            assert_eq!(told, 0, "{hook} went on after its timeout: {:?}", world.of(hook));
        }
    }

    async fn e4_a_hook_reads_how_long_it_may_still_run(world: World) {
        let provider = scripted([]);
        let tells = json!({"pre": [
            {"do": "tell", "what": "remaining"}, {"do": "block", "ms": 20}, {"do": "tell", "what": "remaining"},
        ]});
        let client = world.client(&provider, [world.probe("a", 1, tells)]).await;
        client.send(chat("m")).await;
        let told = world.of("pre").split_off(1);
        let remaining = |line: &String| -> f64 {
            let text = line.strip_prefix("a remaining = ").and_then(|text| text.strip_suffix('s'));
            text.and_then(|text| text.parse().ok()).unwrap_or_else(|| panic!("seconds in `{line}`"))
        };
        let (before, after) = (remaining(&told[0]), remaining(&told[1]));
        assert!(before <= 10.0, "more than the timeout: {before}");
        assert!(after <= before - 0.019, "no less after 20 ms: {before}, then {after}");
    }

    async fn e4_the_completions_that_wait_are_bounded_and_what_is_dropped_is_counted(world: World) {
        let provider = scripted([]);
        let gate = world.text_path("gate");
        let config = PipelineConfig::default().with_max_waiting_completions(1);
        let waits = world.probe("a", 1, json!({"complete": [{"do": "wait_until", "path": gate}]}));
        let client = built(builder(&provider).pipeline(config), [waits]).await;
        for _ in 0..3 {
            client.send(chat("m")).await;
        }
        std::fs::write(&gate, "").expect("the gate opens");
        let metrics = client.render_metrics();
        assert!(metrics.contains("llmux_dropped_completions_total 2"), "{metrics}");
        world.finish(&client).await;
        assert_eq!(world.of("complete"), ["a"], "the one that had a place");
    }

    async fn e2_every_warning_about_one_request_has_its_id(world: World) {
        let logs = Capture::llmux();
        let broken = || Turn::break_off(vec![json!("one")], turn::provider_error(502, "broke off"));
        let provider = scripted([Turn::error(429, "down"), broken()]);
        let large = json!({"do": "respond", "body": turn::response(&json!("mine")), "metadata": {"k": "x".repeat((1 << 20) + 1)}});
        let fails = json!({"do": "stream", "chunks": [turn::chunk(&json!("one"))], "then": "panic"});
        let only = |id: &str| json!({"do": "only", "what": "request_id", "is": id});
        let plugins = [
            world.probe("large", 1, json!({"pre": [only("large"), large]})),
            world.probe("stream", 2, json!({"pre": [only("stream"), fails]})),
            world.probe("fails", 3, json!({"post": [{"do": "fail", "message": "no"}]})),
        ];
        let client = world.client(&provider, plugins).await;
        let ask = |id: &str| chat("m").with_request_id(id);
        for (id, warning) in [("large", "metadata is too large"), ("down", "provider `p` failed")] {
            client.send(ask(id)).await;
            let warned = logs.with(&["WARN", warning, &format!(" request_id={id}")]);
            assert_eq!(warned.len(), 1, "{id}: {:#?}", logs.lines());
        }
        for (id, warning) in [("stream", "a plugin's stream failed"), ("broken", "a stream of provider `p` broke off")] {
            all(client.stream(ask(id)).await).await;
            let warned = logs.with(&["WARN", warning, &format!(" request_id={id}")]);
            assert_eq!(warned.len(), 1, "{id}: {:#?}", logs.lines());
        }
        world.finish(&client).await;
        for line in logs.with(&["WARN"]) {
            assert!(line.contains(" request_id="), "{line}");
        }
    }

    async fn e4_construction_has_ten_seconds(world: World) {
        let provider = scripted([]);
        let client = world.client(&provider, []).await;
        let gate = world.text_path("gate");
        let blocks = world.probe("slow", 1, json!({"new": [{"do": "block_until", "path": gate}]}));
        let plugins = client.plugins().clone();
        let loading = tokio::spawn(async move { plugins.load(blocks).await });
        world.spin_for("slow.new").await;
        tokio::time::advance(Duration::from_secs(11)).await;
        let refused = loading.await.expect("no panic");
        std::fs::write(&gate, "").expect("the gate opens");
        match refused {
            Err(PluginError::Construction { name, message, .. }) => {
                let expected = match world.kind {
                    Kind::Isolated => "the child process was killed: the constructor ran past the timeout of 10s",
                    _ => "ran past its timeout of 10s",
                };
                assert_eq!((name.as_str(), message.as_str()), ("slow", expected));
            }
            other => panic!("{other:?}"),
        }
        assert!(client.plugins().list().is_empty(), "nothing is published");
        if world.kind != Kind::Isolated {
            world.wait_for("slow.drop", 1).await;
        }
    }
}
