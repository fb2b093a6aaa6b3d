//! Rules T6 and S5: a plugin that receives a stream as one answer, and a plugin that sees no stream.

use std::time::Duration;

use llmux_core::{Error, ErrorKind, PluginSpec, pipeline::PipelineConfig, plugins::OnError};
use llmux_tests::{
    Capture, Fixtures, Turn, kinds, scripted,
    world::{all, builder, built, chat, said},
};
use serde_json::json;

fn words(texts: &[&str]) -> Turn {
    let mut chunks: Vec<_> = texts
        .iter()
        .map(|text| json!({"id": "c", "model": "m", "choices": [{"index": 0, "delta": {"content": text}, "finish_reason": null}]}))
        .collect();
    chunks.push(
        json!({"id": "c", "model": "m", "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}),
    );
    Turn::chunks(&chunks, None)
}

/// The texts of chunks, together. The chunk with the reason has no text.
fn text(read: &[String]) -> String {
    read.iter().filter(|text| !text.starts_with('{')).map(String::as_str).collect()
}

kinds! {
    async fn t6_the_post_hook_edits_the_whole_of_a_stream(world: World) {
        let provider = scripted([words(&["a se", "cret"]), Turn::text("a secret")]);
        let client = world.client(&provider, [world.reviewer(json!({"replace": ["secret", "word"]}))]).await;
        assert_eq!(text(&all(client.stream(chat("m")).await).await), "a word");
        assert_eq!(said(&client.send(chat("m")).await), "a word");
    }

    async fn t6_an_answer_that_is_not_changed_keeps_its_chunks(world: World) {
        let provider = scripted([words(&["one ", "two"]), words(&["one ", "two"])]);
        let plain = world.client(&provider, []).await;
        let expected = all(plain.stream(chat("m")).await).await;
        let client = world.client(&provider, [world.reviewer(json!({}))]).await;
        assert_eq!(all(client.stream(chat("m")).await).await, expected);
    }

    async fn t6_a_refusal_is_the_only_answer_and_chunks_before_it_are_not_sent(world: World) {
        let provider = scripted([words(&["a bad ", "word"])]);
        let sees = json!({"chunk": [{"do": "tell", "what": "delta"}], "post_stream": [{"do": "tell", "what": "ending"}]});
        let client = world.client(&provider, [world.probe("a", 1, sees), world.reviewer(json!({"refuse": "bad"}))]).await;
        assert_eq!(all(client.stream(chat("m")).await).await, ["!!451 plugin_error: the answer was refused"]);
        assert_eq!(world.of("chunk"), [""; 0], "the instances after it see no chunk");
        assert!(world.of("post_stream").iter().any(|line| line.contains("ailed")), "{:?}", world.lines());
    }

    async fn t6_a_failure_fails_the_stream_unless_the_instance_says_otherwise(world: World) {
        let provider = scripted([words(&["a ", "word"]), words(&["a ", "word"])]);
        let fails = || world.reviewer(json!({"fail": "word"}));
        let client = world.client(&provider, [fails()]).await;
        let failed = "!!500 plugin_failure: a plugin failed while it handled this request";
        assert_eq!(all(client.stream(chat("m")).await).await, [failed], "`fail` is the default");
        let client = world.client(&provider, [fails().with_on_error(OnError::Continue)]).await;
        assert_eq!(text(&all(client.stream(chat("m")).await).await), "a word");
    }

    async fn t6_a_stream_that_breaks_off_sends_nothing_of_it(world: World) {
        let broken = Error::new(ErrorKind::BadGateway, "cut");
        let provider = scripted([Turn::break_off(vec![json!("a secret")], broken)]);
        let client = world.client(&provider, [world.reviewer(json!({}))]).await;
        let read = all(client.stream(chat("m")).await).await;
        assert!(matches!(&read[..], [only] if only.contains("cut")), "{read:?}");
    }

    async fn t6_a_stream_beyond_the_bounds_fails_or_passes(world: World) {
        let large = "x".repeat(2000);
        let slow = || Turn::paced(vec![json!("one "), json!("two "), json!("three")]);
        let provider = scripted([words(&["a ", &large, " b"]), slow(), words(&["a ", &large, " b"]), slow()]);
        let bounds = PipelineConfig::default()
            .with_max_whole_stream_bytes(1000)
            .with_whole_stream_timeout(Duration::from_millis(1500));
        let failed = "!!500 plugin_failure: a plugin failed while it handled this request";
        let client = built(builder(&provider).pipeline(bounds.clone()), [world.reviewer(json!({}))]).await;
        for _ in 0..2 {
            assert_eq!(all(client.stream(chat("m")).await).await, [failed]);
        }
        let passes = world.reviewer(json!({"replace": ["a", "b"]})).with_on_error(OnError::Continue);
        let client = built(builder(&provider).pipeline(bounds), [passes]).await;
        assert_eq!(text(&all(client.stream(chat("m")).await).await), format!("a {large} b"));
        assert_eq!(text(&all(client.stream(chat("m")).await).await), "one two three");
    }
}

#[tokio::test]
async fn s5_a_plugin_that_sees_no_streamed_answer_is_named() {
    let fixtures = Fixtures::get();
    let provider = scripted([]);
    for (library, misses) in
        [(fixtures.library("llmux-unseeing"), true), (fixtures.reviewer(), false), (fixtures.texts(), false)]
    {
        let logs = Capture::llmux();
        let client = logs.within(built(builder(&provider), [PluginSpec::path(library.clone())])).await;
        let listed = client.plugins().list();
        assert_eq!(listed[0].misses_streams, misses, "{}", library.display());
        let told =
            logs.lines().iter().any(|line| line.contains("streamed answers are not seen by this plugin"));
        assert_eq!(told, misses, "{}", library.display());
    }
}
