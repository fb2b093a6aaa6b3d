//! Rule C1: the usage of a request, and the party that answered it, in the report for `on_complete`.

use std::time::Duration;

use llmux_core::Client;
use llmux_tests::{
    Turn, World, kinds, scripted, turn,
    world::{all, builder, built, chat},
};
use serde_json::{Value as Json, json};

/// Returns a chunk that ends the answer.
fn finish() -> Json {
    json!({"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})
}

/// Returns a stream of a text, its end and its usage.
fn metered() -> Turn {
    Turn::say(vec![json!("one"), finish(), turn::usage_chunk()])
}

fn tells() -> Json {
    ["answered_by", "attempts", "usage"].iter().map(|what| json!({"do": "tell", "what": what})).collect()
}

/// Sends a request to a model, plain or streamed, and reads the whole answer.
async fn send(client: &Client, model: &str, streams: bool) {
    if streams {
        all(client.stream(chat(model)).await).await;
    } else {
        client.send(chat(model)).await;
    }
}

/// Asserts what an instance read in `on_complete`: the party, the attempts, and the usage.
fn assert_told(world: &World, name: &str, [by, attempts, usage]: [&str; 3]) {
    for line in [format!("answered_by = {by}"), format!("attempts = {attempts}"), format!("usage = {usage}")]
    {
        let told = world.count(&format!("{name}.complete {line}"));
        assert_eq!(told, 1, "{name}: {line}; {:#?}", world.of("complete"));
    }
}

/// Reads a stream up to this number of chunks, and leaves.
async fn leave_after(client: &Client, chunks: usize) {
    let mut stream = client.stream(chat("m")).await.result.expect("a stream");
    for _ in 0..chunks {
        stream.next().await.expect("a chunk").expect("a chunk");
    }
}

kinds! {
    async fn c1_a_report_names_the_party_that_answered(world: World) {
        let (mine, none) = (turn::response(&json!("mine")), json!([]));
        let reject = json!([{"do": "reject", "status": 429, "message": "no"}]);
        let respond = |cached| json!([{"do": "respond", "body": mine, "cached": cached}]);
        let recover = json!([{"do": "recover", "body": mine}]);
        let edit = json!([{"do": "set", "pointer": "/edited", "value": true}]);
        let cases = [
            ("answer", "m", &none, &edit, Turn::text("fine"), ["Provider(\"p\")", "p/m 200 7", "7"]),
            ("error", "m", &none, &none, Turn::error(503, "down"), ["Provider(\"p\")", "p/m 503 -", "-"]),
            ("nobodys", "none", &none, &none, Turn::hang(), ["Host", "", "-"]),
            ("refused", "m", &reject, &none, Turn::hang(), ["Plugin(\"refused\")", "", "-"]),
            ("responds", "m", &respond(false), &none, Turn::hang(), ["Plugin(\"responds\")", "", "-"]),
            ("cached", "m", &respond(true), &none, Turn::hang(), ["Cache(\"cached\")", "", "-"]),
            ("recovers", "m", &none, &recover, Turn::error(503, "down"), ["Plugin(\"recovers\")", "p/m 503 -", "-"]),
        ];
        for (name, model, pre, post, turn, expected) in cases {
            let provider = scripted([turn]);
            let scripts = json!({"pre": pre, "post": post, "complete": tells()});
            let client = world.client(&provider, [world.probe(name, 1, scripts)]).await;
            send(&client, model, false).await;
            world.finish(&client).await;
            assert_told(&world, name, expected);
        }
    }

    async fn c1_a_report_names_the_party_that_answered_a_stream(world: World) {
        let (mine, none) = (turn::response(&json!("mine")), json!([]));
        let respond = json!([{"do": "respond", "body": mine, "cached": true}]);
        let own = json!([{"do": "stream", "chunks": [turn::chunk(&json!("own")), turn::usage_chunk()]}]);
        let cases = [
            ("answer", "m", &none, metered(), ["Provider(\"p\")", "p/m 200 7", "7"]),
            ("error", "m", &none, Turn::error(503, "down"), ["Provider(\"p\")", "p/m 503 -", "-"]),
            ("nobodys", "none", &none, Turn::hang(), ["Host", "", "-"]),
            ("cached", "m", &respond, Turn::hang(), ["Cache(\"cached\")", "", "-"]),
            ("own", "m", &own, Turn::hang(), ["Plugin(\"own\")", "", "-"]),
        ];
        for (name, model, pre, turn, expected) in cases {
            let provider = scripted([turn]);
            let scripts = json!({"pre_stream": pre, "complete": tells()});
            let client = world.client(&provider, [world.probe(name, 1, scripts)]).await;
            send(&client, model, true).await;
            world.finish(&client).await;
            assert_told(&world, name, expected);
        }
    }

    async fn s9_a_stream_that_ends_before_its_choices_is_reported_as_unfinished(world: World) {
        let part = |at: u32| json!({"choices": [{"index": at, "delta": {"content": "a"}}]});
        let last = |at: u32| json!({"choices": [{"index": at, "delta": {}, "finish_reason": "stop"}]});
        let empty = json!({"choices": [{"index": 0, "delta": {}, "finish_reason": ""}]});
        // A hook that adds a reason changes nothing: the provider's own chunks count.
        let adds = json!([{"do": "set", "pointer": "/choices/0/finish_reason", "value": "stop"}]);
        let tells = json!([{"do": "tell", "what": "is_unfinished"}]);
        let cases = [
            ("whole", vec![part(0), last(0)], false),
            ("cut", vec![part(0)], true),
            ("empty", vec![part(0), empty], true),
            ("one", vec![part(0), part(1), last(0)], true),
            ("both", vec![part(0), part(1), last(1), last(0)], false),
        ];
        for (name, chunks, expected) in cases {
            let provider = scripted([Turn::say(chunks)]);
            let plugin = world.probe(name, 1, json!({"chunk": adds, "complete": tells}));
            let client = world.client(&provider, [plugin]).await;
            send(&client, "m", true).await;
            world.finish(&client).await;
            let told = world.count(&format!("{name}.complete is_unfinished = {expected}"));
            assert_eq!(told, 1, "{name}: {:#?}", world.of("complete"));
        }
    }

    async fn c1_usage_is_what_the_provider_reported_whatever_plugins_make_of_the_answer(world: World) {
        let usage_away = json!([{"do": "set", "pointer": "/usage", "value": {"total_tokens": 1}}]);
        let convert = json!([{"do": "convert", "status": 502, "message": "no JSON"}]);
        let own = json!([{"do": "recover", "body": turn::response(&json!("mine"))}]);
        let drop = json!([{"do": "drop"}]);
        let end = json!([{"do": "only", "what": "body:/choices/0/finish_reason", "is": "\"stop\""},
            {"do": "end", "status": 502, "message": "no JSON"}]);
        let cases = [
            ("edits", "post", usage_away, "Provider(\"p\")"),
            ("converts", "post", convert, "Plugin(\"converts\")"),
            ("replaces", "post", own, "Plugin(\"replaces\")"),
            ("drops", "chunk", drop, "Provider(\"p\")"),
            ("ends", "chunk", end, "Plugin(\"ends\")"),
        ];
        for (name, hook, script, by) in cases {
            let streams = hook == "chunk";
            let provider = scripted([if streams { metered() } else { Turn::text("fine") }]);
            let plugin = world.probe(name, 1, json!({hook: script, "complete": tells()}));
            let client = world.client(&provider, [plugin]).await;
            send(&client, "m", streams).await;
            world.finish(&client).await;
            assert_told(&world, name, [by, "p/m 200 7", "7"]);
        }
    }

    async fn c1_every_attempt_that_called_a_provider_is_reported_with_its_usage(world: World) {
        let fails_first = json!([{"do": "only", "what": "attempt", "is": "1"}, {"do": "convert", "status": 502, "message": "no"}]);
        let respond = json!([{"do": "only", "what": "attempt", "is": "3"}, {"do": "respond", "body": turn::response(&json!("mine"))}]);
        let provider = scripted([Turn::text("one"), Turn::error(500, "down")]);
        let scripts = json!({"pre": respond, "post": fails_first, "complete": tells()});
        let client = built(builder(&provider).fallbacks("m", ["n", "o"]), [world.probe("a", 1, scripts)]).await;
        send(&client, "m", false).await;
        world.finish(&client).await;
        assert_told(&world, "a", ["Plugin(\"a\")", "p/m 200 7, p/n 500 -", "7"]);

        let provider = scripted([Turn::text("one"), Turn::text("two")]);
        let scripts = json!({"post": fails_first, "complete": tells()});
        let client = built(builder(&provider).fallbacks("m", ["n"]), [world.probe("b", 1, scripts)]).await;
        send(&client, "m", false).await;
        world.finish(&client).await;
        assert_told(&world, "b", ["Provider(\"p\")", "p/m 200 7, p/n 200 7", "14"]);
    }

    async fn c1_the_usage_of_a_stream_that_was_left_at_its_end_is_still_read(world: World) {
        let chunks = || vec![json!("one"), finish(), turn::usage_chunk()];
        let late = Turn::paced(chunks());
        let never = Turn::stall(vec![json!("one"), finish()]);
        for (name, turn, usage) in [("late", late, "7"), ("never", never, "~2")] {
            let provider = scripted([turn]);
            let client = world.client(&provider, [world.probe(name, 1, json!({"complete": tells()}))]).await;
            leave_after(&client, 2).await;
            world.finish(&client).await;
            assert_told(&world, name, ["Provider(\"p\")", &format!("p/m 200 {usage}"), usage]);
            assert_eq!(provider.open(), 0, "{name}: the provider's stream is closed");
        }
    }

    async fn c1_a_stream_that_was_left_in_the_middle_is_cancelled_at_once_and_its_usage_estimated(world: World) {
        let provider = scripted([Turn::paced(vec![json!("one"), json!("two"), finish(), turn::usage_chunk()])]);
        let client = world.client(&provider, [world.probe("a", 1, json!({"complete": tells()}))]).await;
        let begun = tokio::time::Instant::now();
        leave_after(&client, 1).await;
        world.finish(&client).await;
        assert_eq!((begun.elapsed().as_secs(), provider.open()), (0, 0), "nobody waits for the rest");
        assert_told(&world, "a", ["Provider(\"p\")", "p/m 200 ~2", "~2"]);
    }

    async fn c1_the_usage_is_estimated_if_the_provider_reports_none(world: World) {
        let response = json!({"choices": [{"message": {"role": "assistant", "content": "12345678"}}]});
        for streams in [false, true] {
            let turn = if streams { Turn::say(vec![json!("1234"), json!("5678"), finish()]) } else { Turn::say(vec![response.clone()]) };
            let (provider, name) = (scripted([turn]), format!("it.{streams}"));
            let scripts = json!({"post_stream": tells(), "complete": tells()});
            let client = world.client(&provider, [world.probe(&name, 1, scripts)]).await;
            send(&client, "m", streams).await;
            world.finish(&client).await;
            assert_told(&world, &name, ["Provider(\"p\")", "p/m 200 ~3", "~3"]);
            assert_eq!(world.count(&format!("{name}.post_stream usage = ~3")), usize::from(streams));
        }
    }

    async fn c1_a_client_that_left_before_any_answer_has_no_usage(world: World) {
        let provider = scripted([Turn::text("fine").after(Duration::from_secs(60))]);
        let client = world.client(&provider, [world.probe("a", 1, json!({"complete": tells()}))]).await;
        world.leave("a.pre", client.send(chat("m"))).await;
        world.finish(&client).await;
        assert_told(&world, "a", ["Provider(\"p\")", "p/m 499 -", "-"]);
    }
}
