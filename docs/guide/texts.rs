//! Code of `texts.md`: a guard and a mask for texts. Compiled and run by `llmux-abi/example-tests`.

use llmux_abi::{
    host::{Exported, PluginManifest},
    prelude::*,
};
use llmux_core::{Endpoint, PluginSpec};
use llmux_testing::Harness;
use serde_json::json;

use crate::testing::budget::Budget;

/// Refuses a word in anything that is said, in either direction.
struct NoSecrets;

impl Plugin for NoSecrets {
    type Config = NoConfig;

    fn new(_: NoConfig, _: Host) -> Result<Self> {
        Ok(Self)
    }

    async fn on_text(&self, _: &mut Context<'_>, text: &mut Text<'_>) -> Result<TextFlow> {
        if text.contains("falcon") {
            return Ok(TextFlow::End(Error::forbidden("this project has no name")));
        }
        text.hold_start_of(&["falcon"]);
        Ok(TextFlow::Continue)
    }
}

/// Puts stars in the place of a word of the model.
struct Polite;

impl Plugin for Polite {
    type Config = NoConfig;

    fn new(_: NoConfig, _: Host) -> Result<Self> {
        Ok(Self)
    }

    async fn on_text(&self, _: &mut Context<'_>, text: &mut Text<'_>) -> Result<TextFlow> {
        if text.side() == Side::Request || text.channel() == Channel::Arguments {
            return Ok(TextFlow::Continue);
        }
        // A held end is not replaced: it comes again, together with what follows.
        let held = text.hold_start_of(&["damn"]);
        let shown = &text.as_str()[..held.unwrap_or(text.len())];
        if shown.contains("damn") {
            text.set(shown.replace("damn", "d**n"));
        }
        Ok(TextFlow::Continue)
    }
}

/// A guard that needs the whole answer before it decides.
struct Reviewer;

impl Plugin for Reviewer {
    type Config = NoConfig;

    fn new(_: NoConfig, _: Host) -> Result<Self> {
        Ok(Self)
    }

    async fn post_hook(&self, _: &mut Context<'_>, outcome: &mut Outcome<'_>) -> Result<()> {
        let lines = outcome.response().and_then(|answer| answer.content().map(|text| text.lines().count()));
        if lines.is_some_and(|lines| lines > 100) {
            outcome.fail(Error::new("the answer is too long").with_status(502))?;
        }
        Ok(())
    }
}

/// A part of the code that `export_plugin!` writes. This crate has a call of that macro already.
impl Exported for Reviewer {
    const MANIFEST: PluginManifest =
        PluginManifest { name: "reviewer", streams: Some(Streams::Whole), ..<Budget as Exported>::MANIFEST };
}

#[tokio::test]
async fn a_word_is_refused_in_requests_and_at_every_split_of_an_answer() {
    let harness = Harness::builder().spec(PluginSpec::of::<NoSecrets>("no-secrets")).build().await;
    harness.chat("Tell me about falcon.").await.assert_rejected(403);
    harness.assert_nothing_sent();
    let body = json!({"model": "test-model", "prompt": "Hi", "input": "Hi", "messages": [{"role": "user", "content": "Hi"}]});
    for endpoint in [Endpoint::ChatCompletions, Endpoint::Completions, Endpoint::Responses] {
        let request = llmux_core::Request::of(endpoint, &body).expect("a request");
        let reply = harness.every_split(request, "The falcon flies.").await;
        reply.assert_rejected(403);
        assert_eq!(reply.text(), "The ", "{endpoint}");
    }
}

#[tokio::test]
async fn a_word_is_masked_at_every_split() {
    let harness = Harness::builder().spec(PluginSpec::of::<Polite>("polite")).build().await;
    let reply = harness.every_split(Harness::request("Hi"), "Oh damn, the dam").await;
    reply.assert_text("Oh d**n, the dam");
}

#[tokio::test]
async fn a_stream_is_reviewed_as_a_whole() {
    let harness = Harness::new::<Reviewer>(json!({})).await;
    harness.stream_text(&["one\n", &"more\n".repeat(100)]);
    harness.chat_stream("Hi").await.assert_rejected(502);
    harness.stream_text(&["one\n", "two"]);
    harness.chat_stream("Hi").await.assert_text("one\ntwo");
}
