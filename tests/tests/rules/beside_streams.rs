//! Rules B1 to B6: the hooks beside the call of a provider, with streams.

use std::time::Duration;

use llmux_core::plugins::OnError;
use llmux_tests::{
    Turn, kinds, scripted, turn,
    world::{all, chat, header, read},
};
use serde_json::{Value as Json, json};
use tokio::time::Instant;

const REFUSED: &str = "!451 refused: refused by a";
const SECOND: Duration = Duration::from_secs(1);

fn finish() -> Json {
    json!({"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})
}

fn refuse(wait: u64) -> Json {
    json!({"wait": wait, "refuse": 451})
}

kinds! {
    async fn b2_no_chunk_is_sent_or_passes_a_hook_before_all_verdicts(world: World) {
        let provider = scripted([Turn::say(vec![json!("one"), json!("two"), finish()])]);
        let tell = json!({"chunk": [{"do": "tell", "what": "value:k"}]});
        let plugins = [
            world.beside("a", 1, json!({"wait": 50, "values": {"k": "v"}, "headers": {"x-a": "1"}})),
            world.probe("p", 2, tell),
        ];
        let client = world.client(&provider, plugins).await;
        let reply = client.stream(chat("m")).await;
        assert_eq!(header(reply.headers(), "x-a"), Some("1"));
        assert_eq!(all(reply).await.len(), 3);
        let order: Vec<_> = world.lines().into_iter().filter(|line| line == "a.ended" || line.starts_with("p.chunk")).collect();
        assert_eq!(order[0], "a.ended");
        assert_eq!(order.iter().filter(|line| *line == "p.chunk value:k = String(\"-v\")").count(), 3);
    }

    async fn b4_a_refused_stream_is_an_error_that_its_end_sees_as_failed(world: World) {
        let turns = || scripted([Turn::hang(), Turn::text("too late"), Turn::stall(vec![json!("one")])]);
        let seen = json!({"post_stream": [{"do": "tell", "what": "ending"}, {"do": "emit", "chunk": turn::chunk(&json!("more"))}]});
        let provider = turns();
        let plugins = [world.beside("a", 1, refuse(30)), world.probe("p", 2, seen)];
        let client = world.client(&provider, plugins).await;
        for _ in 0..3 {
            assert_eq!(all(client.stream(chat("m")).await).await, [format!("!{REFUSED}")]);
            assert_eq!(provider.open(), 0, "the call is dropped");
        }
        assert_eq!(world.of("chunk").len(), 0);
        assert_eq!(world.of("post_stream"), ["p", "p ending = failed 451 refused"].repeat(3));
    }

    async fn b4_a_fallback_follows_a_refused_stream_only_if_the_refusal_allows_it(world: World) {
        for (allow, expected, calls) in [(false, format!("!{REFUSED}"), 1), (true, "again".to_owned(), 2)] {
            let provider = scripted([Turn::stall(vec![json!("one")])]);
            let hook = json!({"wait": 10, "refuse": 451, "model": "m", "allow_fallback": allow});
            let client = world.client(&provider, [world.beside("a", 1, hook)]).await;
            let reply = client.stream(chat("m").with_fallbacks(["n"])).await;
            assert_eq!((all(reply).await, provider.calls().len()), (vec![expected], calls), "{allow}");
        }
    }

    async fn b4_the_report_has_the_usage_of_the_chunks_that_had_arrived(world: World) {
        let (usage, text) = (turn::usage_chunk(), json!("12345678"));
        let broken = llmux_core::Error::new(llmux_core::ErrorKind::BadGateway, "broken");
        let provider = scripted([
            Turn::stall(vec![text.clone(), usage]),
            Turn::stall(vec![text.clone()]),
            Turn::break_off(vec![text], broken),
            Turn::error(429, "no"),
            // What follows at the end of a stream is not read either: the call is dropped.
            Turn::paced(vec![finish(), turn::usage_chunk()]),
        ]);
        let seen = ["answered_by", "attempts"].map(|what| json!({"do": "tell", "what": what}));
        let plugins = [world.beside("a", 1, refuse(100)), world.probe("p", 2, json!({"complete": seen}))];
        let client = world.client(&provider, plugins).await;
        for at in 1..=5 {
            assert_eq!(all(client.stream(chat("m")).await).await, [format!("!{REFUSED}")]);
            world.wait_for("p.complete answered_by = Plugin(\"a\")", at).await;
        }
        world.finish(&client).await;
        let attempts: Vec<_> = world.of("complete").into_iter().filter(|line| line.contains("attempts")).collect();
        assert_eq!(attempts, [
            "p attempts = p/m 200 7 by a",
            "p attempts = p/m 200 ~3 by a",
            "p attempts = p/m 502 ~3 by a",
            "p attempts = p/m 429 - by a",
            "p attempts = p/m 200 ~1 by a",
        ]);
    }

    async fn b5_a_failure_beside_a_stream_allows_or_refuses(world: World) {
        for (on_error, expected) in [
            (OnError::Continue, "again"),
            (OnError::Fail, "!!500 plugin_failure: a plugin failed while it handled this request"),
        ] {
            let provider = scripted([]);
            let hook = json!({"wait": 10, "panic": true});
            let client = world.client(&provider, [world.beside("a", 1, hook).with_on_error(on_error)]).await;
            assert_eq!(all(client.stream(chat("m")).await).await, [expected]);
        }
    }

    async fn b2_chunks_wait_in_a_bounded_buffer_and_stay_in_order(world: World) {
        let count = 20_000;
        let provider = scripted([Turn::many(count)]);
        let client = world.client(&provider, [world.beside("a", 1, json!({"wait": 200}))]).await;
        let expected: Vec<String> = (0..count).map(|at| at.to_string()).collect();
        let (reply, produced) = tokio::join!(client.stream(chat("m")), async {
            world.wait_for("a.beside 1 m - hi", 1).await;
            tokio::time::sleep(Duration::from_millis(100)).await;
            provider.produced()
        });
        // Each chunk has about 75 bytes, and counts 64 bytes more.
        assert!((1_000..4_000).contains(&produced), "{produced}");
        assert!(all(reply).await == expected, "all chunks in order");
    }

    async fn b6_a_hook_delays_the_first_chunk_by_the_time_by_which_it_is_slower(world: World) {
        // The first chunk, the hook, the first chunk for the client, the last one.
        for (first, hook, at, end) in [(3, 5, 5, 5), (5, 3, 5, 7), (1, 2, 2, 3)] {
            let paced = Turn::paced(vec![json!("one"), json!("two"), json!("three")]).after(first * SECOND);
            let provider = scripted([paced]);
            let client = world.client(&provider, [world.beside("a", 1, json!({"wait": hook * 1000}))]).await;
            let begin = Instant::now();
            let mut stream = client.stream(chat("m")).await.result.expect("a stream");
            stream.next().await.expect("a chunk").expect("a chunk");
            assert_eq!(begin.elapsed().as_secs(), at, "{first} {hook}");
            assert_eq!(read(&mut stream).await, ["two", "three"]);
            assert_eq!(begin.elapsed().as_secs(), end, "{first} {hook}");
        }
    }

    async fn b2_after_an_early_head_a_refusal_is_an_error_event(world: World) {
        let slow = || Turn::text("late").after(20 * SECOND);
        // The provider has not answered; it has accepted and is held back.
        for (turn, after, silence) in
            [(slow(), Some(1), None), (Turn::text("soon"), Some(1), None), (Turn::text("soon"), None, Some(1))]
        {
            let provider = scripted([turn]);
            let client = world.client(&provider, [world.beside("a", 1, refuse(3000))]).await;
            let request = chat("m").with_early_head(after.map(|it| it * SECOND), silence.map(|it| it * SECOND));
            let begin = Instant::now();
            let reply = client.stream(request).await;
            assert_eq!(begin.elapsed().as_secs(), 1);
            assert_eq!(all(reply).await, [REFUSED]);
            assert_eq!((begin.elapsed().as_secs(), provider.open()), (3, 0));
        }
    }

    async fn b2_after_an_early_head_the_chunks_still_wait_for_the_verdicts(world: World) {
        let provider = scripted([Turn::text("soon")]);
        let client = world.client(&provider, [world.beside("a", 1, json!({"wait": 3000}))]).await;
        let begin = Instant::now();
        let reply = client.stream(chat("m").with_early_head(Some(SECOND), None)).await;
        assert_eq!(begin.elapsed().as_secs(), 1);
        assert_eq!(all(reply).await, ["soon"]);
        assert_eq!(begin.elapsed().as_secs(), 3);
    }
}
