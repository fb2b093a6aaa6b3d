//! Rules S1 to S8: streams.

use llmux_core::{Endpoint, Request, plugins::OnError};
use llmux_tests::{
    Turn, kinds, scripted, turn,
    world::{all, builder, built, chat, header, read, told},
};
use serde_json::{Value as Json, json};

fn chunk(text: &str) -> Json {
    turn::chunk(&json!(text))
}

/// Reads the rest of a stream. Returns the name and the data of every event, and the error at the end.
async fn data(reply: llmux_core::StreamReply) -> Vec<String> {
    let mut stream = reply.result.expect("a stream");
    let mut data = Vec::new();
    while let Some(item) = stream.next().await {
        data.push(match item {
            Ok(chunk) => {
                format!("{}|{}", chunk.event().unwrap_or_default(), String::from_utf8_lossy(&chunk.data()))
            }
            Err(error) => told(&error),
        });
    }
    data
}

fn one_two() -> Turn {
    Turn::say(vec![json!("one"), json!("two")])
}

kinds! {
    async fn s1_the_default_pre_stream_hook_is_the_pre_hook(world: World) {
        let provider = scripted([one_two()]);
        let client = world.client(&provider, [world.guard(json!({"deny": "n", "answer": "o"}))]).await;
        let reply = client.stream(chat("m")).await;
        assert_eq!(header(reply.headers(), "x-guarded"), Some("m"), "what the pre hook sets");
        assert_eq!(all(reply).await, ["one", "two"]);
        assert_eq!(provider.calls()[0]["guarded"], true, "what the pre hook edits");
        assert_eq!(all(client.stream(chat("n")).await).await, ["!!403 permission_error: not this model"]);
        let answered = all(client.stream(chat("o")).await).await;
        assert_eq!(answered[0], "from the guard", "a response becomes a stream of that response");
        assert_eq!(provider.calls().len(), 1, "calls of the provider");
    }

    async fn s1_pre_stream_hook_takes_the_pre_hooks_place(world: World) {
        let provider = scripted([one_two()]);
        let client = world.client(&provider, [world.probe("a", 1, json!({}))]).await;
        all(client.stream(chat("m")).await).await;
        assert_eq!((world.of("pre_stream").len(), world.of("pre").len()), (1, 0));
    }

    async fn s2_a_plugin_answers_with_a_stream_of_its_own(world: World) {
        let provider = scripted([]);
        let chunks = [chunk("own"), chunk("words")];
        let streams = json!({"pre_stream": [{"do": "stream", "chunks": chunks, "metadata": {"cache": "hit"}}]});
        let sees = json!({"post_stream": [{"do": "tell", "what": "value:cache"}], "chunk": [{"do": "shout"}]});
        let plugins = [world.probe("a", 1, sees), world.probe("b", 2, streams), world.probe("c", 3, json!({}))];
        let client = world.client(&provider, plugins).await;
        assert_eq!(all(client.stream(chat("m")).await).await, ["OWN", "WORDS"]);
        assert_eq!(provider.calls().len(), 0, "calls of the provider");
        assert_eq!(world.of("chunk"), ["b", "a", "b", "a"], "its chunks pass the chunk hooks, c's turn never came");
        assert!(world.of("post_stream").contains(&"a value:cache = String(\"hit\")".to_owned()), "{:?}", world.lines());
        world.wait_for("b.source dropped", 1).await;
        assert_eq!(world.count("b.source dropped"), 1);
    }

    async fn s2_a_stream_of_a_plugins_own_ends_with_its_error_or_when_the_client_leaves(world: World) {
        let provider = scripted([]);
        let fails = json!({"pre_stream": [{"do": "stream", "chunks": [chunk("own")], "then": "fail"}]});
        let client = world.client(&provider, [world.probe("a", 1, fails)]).await;
        assert_eq!(all(client.stream(chat("m")).await).await, ["own", "!503 service_unavailable: the source ran dry"]);
        let hangs = json!({"pre_stream": [{"do": "stream", "chunks": [chunk("own")], "then": "hang"}]});
        let client = world.client(&provider, [world.probe("b", 1, hangs)]).await;
        let mut stream = client.stream(chat("m")).await.result.expect("a stream");
        stream.next().await.expect("a chunk").expect("a chunk");
        drop(stream);
        world.wait_for("b.source dropped", 1).await;
    }

    async fn s3_a_chunk_hook_forwards_edits_drops_replaces_and_ends(world: World) {
        let cases = [
            ("forward", json!([]), vec!["one", "two"]),
            ("edit", json!([{"do": "shout"}]), vec!["ONE", "TWO"]),
            ("drop", json!([{"do": "only", "what": "delta", "is": "one"}, {"do": "drop"}]), vec!["two"]),
            (
                "replace",
                json!([{"do": "only", "what": "delta", "is": "one"}, {"do": "replace", "chunks": [chunk("uno"), chunk("ein")]}]),
                vec!["uno", "ein", "two"],
            ),
            (
                "end",
                json!([{"do": "only", "what": "delta", "is": "two"}, {"do": "end", "status": 451, "message": "enough"}]),
                vec!["one", "!451 scripted: enough"],
            ),
        ];
        for (name, script, expected) in cases {
            let provider = scripted([one_two()]);
            let sees = json!({"chunk": [{"do": "tell", "what": "delta"}]});
            let client =
                world.client(&provider, [world.probe(&format!("a-{name}"), 1, sees), world.probe(name, 2, json!({"chunk": script}))]).await;
            assert_eq!(all(client.stream(chat("m")).await).await, expected, "{name}");
            let seen: Vec<String> =
                world.of("chunk").iter().filter_map(|line| line.strip_prefix(&format!("a-{name} delta = ")).map(str::to_owned)).collect();
            let chunks: Vec<&str> = expected.into_iter().filter(|text| !text.starts_with('!')).collect();
            assert_eq!(seen, chunks, "what the instance after {name} sees");
        }
    }

    async fn s3_a_hook_sees_chunks_that_are_ready_together_one_after_the_other(world: World) {
        let texts: Vec<String> = (0..100).map(|number| format!("t{number}")).collect();
        let cases = [
            ("forward", json!([])),
            ("waits", json!([{"do": "sleep", "ms": 1}])),
            ("edit", json!([{"do": "shout"}])),
            ("drop", json!([{"do": "only", "what": "delta", "is": "t40"}, {"do": "drop"}])),
            ("replace", json!([{"do": "only", "what": "delta", "is": "t40"}, {"do": "replace", "chunks": [chunk("a"), chunk("b")]}])),
            ("value", json!([{"do": "only", "what": "delta", "is": "t40"}, {"do": "value", "key": "seen", "value": "it"}])),
            ("fail", json!([{"do": "only", "what": "delta", "is": "t40"}, {"do": "fail", "message": "no"}])),
            ("end", json!([{"do": "only", "what": "delta", "is": "t40"}, {"do": "end", "status": 451, "message": "enough"}])),
        ];
        for (name, does) in cases {
            let provider = scripted([Turn::say(texts.iter().map(|text| json!(text)).collect())]);
            let mut script = vec![json!({"do": "tell", "what": "delta"}), json!({"do": "tell", "what": "value:seen"})];
            script.extend(does.as_array().expect("steps").iter().cloned());
            let client = world.client(&provider, [world.probe(name, 1, json!({"chunk": script})).with_on_error(OnError::Continue)]).await;
            let read = all(client.stream(chat("m")).await).await;
            let mut expected = texts.clone();
            let last = if name == "end" { 40 } else { 99 };
            match name {
                "edit" => expected.iter_mut().for_each(|text| *text = text.to_uppercase()),
                "drop" => drop(expected.remove(40)),
                "replace" => drop(expected.splice(40..=40, ["a".to_owned(), "b".to_owned()])),
                "end" => drop(expected.splice(40.., ["!451 scripted: enough".to_owned()])),
                _ => {}
            }
            assert_eq!(read, expected, "{name}");
            let told = |what: &str| -> Vec<String> {
                let start = format!("{name} {what} = ");
                world.of("chunk").iter().filter_map(|line| line.strip_prefix(&start).map(str::to_owned)).collect()
            };
            assert_eq!(told("delta"), texts[..=last], "{name}");
            let value = |at| if name == "value" && at > 40 { "String(\"it\")" } else { "-" };
            assert_eq!(told("value:seen"), (0..=last).map(value).collect::<Vec<_>>(), "{name}");
        }
    }

    async fn s3_an_untouched_event_passes_byte_for_byte(world: World) {
        let events = vec![
            ("response.created", r#"{ "type" : "response.created", "n":1.50 , "é":"\u00e9"}"#),
            ("odd", "not json at all"),
        ];
        let provider = scripted([Turn::named(events.clone())]);
        let tells = json!({"chunk": [{"do": "tell", "what": "event"}, {"do": "tell", "what": "body:/n"}]});
        let client = world.client(&provider, [world.probe("a", 1, tells)]).await;
        let request = Request::new(Endpoint::Responses, r#"{"model":"m","input":"hi"}"#).expect("a request");
        let expected: Vec<String> = events.iter().map(|(name, data)| format!("{name}|{data}")).collect();
        assert_eq!(data(client.stream(request).await).await, expected);
        let expected = ["a", "a event = response.created", "a body:/n = 1.50", "a", "a event = odd", "a body:/n = -"];
        assert_eq!(world.of("chunk"), expected);
    }

    async fn s3_instances_whose_turn_did_not_come_see_no_chunks(world: World) {
        let provider = scripted([]);
        let answers = json!({"pre": [{"do": "respond", "body": turn::response(&json!("mine"))}]});
        let client = world.client(&provider, [world.probe("a", 1, answers), world.probe("b", 2, json!({}))]).await;
        all(client.stream(chat("m")).await).await;
        assert!(!world.of("chunk").is_empty() && !world.of("chunk").contains(&"b".to_owned()), "{:?}", world.lines());
        assert_eq!(world.of("post_stream"), ["a"]);
    }

    async fn s4_the_end_is_told_once_completed(world: World) {
        let provider = scripted([Turn::say(vec![json!("one"), turn::usage_chunk()])]);
        let tells = json!({"post_stream": [
            {"do": "tell", "what": "ending"}, {"do": "tell", "what": "usage"}, {"do": "tell", "what": "request:/model"},
        ]});
        let client = world.client(&provider, [world.probe("a", 1, tells)]).await;
        all(client.stream(chat("m")).await).await;
        world.finish(&client).await;
        let expected = ["a", "a ending = completed", "a usage = 7", "a request:/model = \"m\""];
        assert_eq!(world.of("post_stream"), expected);
    }

    async fn s4_the_end_is_told_once_failed(world: World) {
        let broken = turn::provider_error(502, "broke off");
        let provider = scripted([
            Turn::break_off(vec![json!("one")], broken.clone()),
            Turn::break_off(vec![], broken),
            Turn::error(400, "bad"),
        ]);
        let tells = json!({"post_stream": [{"do": "tell", "what": "ending"}]});
        let client = world.client(&provider, [world.probe("a", 1, tells)]).await;
        for _ in 0..3 {
            all(client.stream(chat("m")).await).await;
        }
        world.finish(&client).await;
        let (late, early) = ("a ending = failed 502 upstream_type", "a ending = failed 400 upstream_type");
        assert_eq!(world.of("post_stream"), ["a", late, "a", late, "a", early]);
    }

    async fn s4_the_end_is_told_once_cancelled(world: World) {
        let provider = scripted([Turn::stall(vec![json!("one")]), Turn::hang()]);
        let tells = json!({"post_stream": [
            {"do": "tell", "what": "ending"}, {"do": "emit", "chunk": chunk("late")},
        ]});
        let client = world.client(&provider, [world.probe("a", 1, tells)]).await;
        let mut stream = client.stream(chat("m")).await.result.expect("a stream");
        stream.next().await.expect("a chunk").expect("a chunk");
        drop(stream);
        world.wait_for("a.post_stream", 1).await;
        assert_eq!(provider.open(), 0, "the upstream's stream is closed");
        tokio::select! {
            _ = client.stream(chat("m")) => panic!("nothing comes"),
            () = world.wait_for("a.pre_stream", 2) => {}
        }
        world.finish(&client).await;
        assert_eq!(world.of("post_stream"), ["a", "a ending = cancelled", "a", "a ending = cancelled"]);
    }

    async fn s4_last_chunks_pass_the_instances_after_before_those_see_the_end(world: World) {
        let provider = scripted([Turn::say(vec![json!("one")])]);
        let emits = json!({"post_stream": [{"do": "emit", "chunk": chunk("last")}, {"do": "emit", "chunk": chunk("words")}]});
        let shouts = json!({"chunk": [{"do": "shout"}]});
        let plugins = [world.probe("a", 1, shouts), world.probe("b", 2, emits), world.probe("c", 3, json!({}))];
        let client = world.client(&provider, plugins).await;
        assert_eq!(all(client.stream(chat("m")).await).await, ["ONE", "LAST", "WORDS"]);
        let expected = [
            "a.pre_stream", "b.pre_stream", "c.pre_stream", "c.chunk", "b.chunk", "a.chunk",
            "c.post_stream", "b.post_stream", "a.chunk", "a.chunk", "a.post_stream",
        ];
        assert_eq!(world.chain(), expected);
    }

    async fn s4_a_failed_stream_emits_nothing(world: World) {
        let provider = scripted([Turn::break_off(vec![json!("one")], turn::provider_error(502, "off"))]);
        let emits = json!({"post_stream": [{"do": "emit", "chunk": chunk("last")}]});
        let client = world.client(&provider, [world.probe("a", 1, emits)]).await;
        assert_eq!(all(client.stream(chat("m")).await).await, ["one", "!502 upstream_type: off"]);
    }

    async fn s5_post_hook_is_not_called_for_streams(world: World) {
        let provider = scripted([one_two(), Turn::error(400, "bad")]);
        let client = world.client(&provider, [world.probe("a", 1, json!({}))]).await;
        all(client.stream(chat("m")).await).await;
        all(client.stream(chat("m")).await).await;
        world.finish(&client).await;
        assert_eq!(world.of("post"), Vec::<String>::new());
    }

    async fn s6_a_slow_client_slows_the_upstream(world: World) {
        let provider = scripted([Turn::many(1000)]);
        let client = world.client(&provider, [world.probe("a", 1, json!({}))]).await;
        let mut stream = client.stream(chat("m")).await.result.expect("a stream");
        for read in 1..=3 {
            stream.next().await.expect("a chunk").expect("a chunk");
            tokio::time::sleep(std::time::Duration::from_secs(60)).await;
            let ahead = provider.produced() - read;
            assert!(ahead <= 16, "{ahead} chunks are buffered for a client that has read {read}");
        }
        assert_eq!(read(&mut stream).await.len(), 997, "nothing is lost");
    }

    async fn s7_a_failure_before_the_first_chunk_is_an_error_and_may_fall_back(world: World) {
        let off = || turn::provider_error(502, "off");
        let provider = scripted([
            Turn::break_off(vec![], off()),
            Turn::break_off(vec![], off()),
            Turn::say(vec![json!("from n")]),
        ]);
        let client = built(builder(&provider), [world.probe("a", 1, json!({}))]).await;
        assert_eq!(all(client.stream(chat("m")).await).await, ["!!502 upstream_type: off"], "an error, no stream");
        let reply = client.stream(chat("m").with_fallbacks(["n"])).await;
        assert_eq!(reply.attempts(), 2);
        assert_eq!(all(reply).await, ["from n"], "the fallback's stream");
    }

    async fn s7_a_failure_after_the_first_chunk_is_an_error_event(world: World) {
        let provider = scripted([Turn::break_off(vec![json!("one")], turn::provider_error(502, "off"))]);
        let client = world.client(&provider, [world.probe("a", 1, json!({}))]).await;
        let read = all(client.stream(chat("m").with_fallbacks(["n"])).await).await;
        assert_eq!(read, ["one", "!502 upstream_type: off"], "never a silent end, and no fallback");
        assert_eq!(provider.calls().len(), 1, "calls of the provider");
    }

    async fn s8_usage_is_asked_for_and_withheld_from_who_did_not_ask(world: World) {
        // The second statement repeats the frame of the first.
        let turn = || Turn::say(vec![json!("one"), turn::usage_chunk(), turn::usage_chunk()]);
        let provider = scripted([turn(), turn()]);
        let tells = json!({"chunk": [{"do": "tell", "what": "body:/usage/total_tokens"}], "complete": [{"do": "tell", "what": "usage"}]});
        let client = world.client(&provider, [world.probe("a", 1, tells)]).await;
        assert_eq!(all(client.stream(chat("m")).await).await, ["one"], "withheld");
        let body = json!({"model": "m", "messages": [], "stream_options": {"include_usage": true, "x": 1}});
        let asked = Request::of(Endpoint::ChatCompletions, &body).expect("a request");
        assert_eq!(all(client.stream(asked).await).await.len(), 3, "asked for");
        world.finish(&client).await;
        let calls = provider.calls();
        assert_eq!(calls[0]["stream_options"], json!({"include_usage": true}), "what the upstream is asked");
        assert_eq!(calls[1]["stream_options"], json!({"include_usage": true, "x": 1}), "what the caller said stays");
        assert_eq!(world.count("a.chunk body:/usage/total_tokens = 7"), 4, "plugins see it");
        assert_eq!(world.count("a.complete usage = 7"), 2, "and are told at the end");
    }

    async fn s8_a_provider_that_refuses_it_is_asked_once_more_without_it(world: World) {
        let refused = || Turn::error(400, "Unknown parameter: 'stream_options'.");
        let provider = scripted([refused(), one_two(), one_two(), refused(), Turn::error(400, "no")]);
        let client = world.client(&provider, [world.probe("a", 1, json!({}))]).await;
        for _ in 0..2 {
            assert_eq!(all(client.stream(chat("m")).await).await, ["one", "two"]);
        }
        let asked: Vec<_> = provider.calls().iter().map(|call| call.get("stream_options").is_some()).collect();
        assert_eq!(asked, [true, false, false], "asked once, and remembered");
        let own = json!({"model": "n", "messages": [], "stream_options": {"include_usage": true}});
        let own = Request::of(Endpoint::ChatCompletions, &own).expect("a request");
        let said = all(client.stream(own).await).await;
        assert!(said[0].starts_with("!!400"), "the client asked for it itself: {said:?}");
        let said = all(client.stream(chat("o")).await).await;
        assert!(said[0].starts_with("!!400"), "another refusal: {said:?}");
        assert_eq!(provider.calls().len(), 5);
    }

    async fn s8_a_provider_that_does_not_know_it_is_not_asked(world: World) {
        let provider = scripted([one_two()]).without_usage();
        let client = world.client(&provider, [world.probe("a", 1, json!({}))]).await;
        assert_eq!(all(client.stream(chat("m")).await).await, ["one", "two"]);
        assert_eq!(provider.calls()[0].get("stream_options"), None);
    }
}
