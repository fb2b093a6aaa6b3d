//! Every split finds plugins that a split deceives, and accepts those that no split deceives.

use llmux_abi::prelude::*;
use llmux_core::{PluginSpec, Request};
use serde_json::json;

use super::*;

/// A guard or a mask for a word, with or without the mistakes that splits uncover.
#[derive(Clone, Copy, PartialEq)]
enum Way {
    Refuse,
    /// Judges each piece by itself.
    RefuseWithoutHolding,
    Mask,
    /// Masks the part of a word, too, so that the mask depends on the split.
    MaskEachPart,
    /// Fails at one piece, and goes on.
    Stumble,
    /// Refuses with a message that depends on the split.
    Tell,
}

struct Word(Way);

impl Plugin for Word {
    type Config = NoConfig;

    fn new(_: NoConfig, _: Host) -> Result<Self> {
        Err(Error::new("made by hand"))
    }

    async fn on_text(&self, _: &mut Context<'_>, text: &mut Text<'_>) -> Result<TextFlow> {
        let Self(way) = *self;
        if way == Way::Stumble && text.as_str() == "The" {
            return Err(Error::new("a piece that this plugin does not like"));
        }
        let has_word = text.contains("falcon");
        match way {
            Way::Tell if has_word => {
                return Ok(TextFlow::End(Error::forbidden(format!("{} bytes in", text.len()))));
            }
            Way::Refuse | Way::RefuseWithoutHolding if has_word => {
                return Ok(TextFlow::End(Error::forbidden("no falcons")));
            }
            Way::MaskEachPart if text.contains("fal") => {
                text.set(text.replace("fal", "*").replace("con", "*"))
            }
            _ => {}
        }
        if matches!(way, Way::Refuse | Way::Mask | Way::Tell) {
            let held = text.hold_start_of(&["falcon"]).unwrap_or(text.len());
            let shown = &text.as_str()[..held];
            if way == Way::Mask && shown.contains("falcon") {
                text.set(shown.replace("falcon", "bird"));
            }
        }
        Ok(TextFlow::Continue)
    }
}

async fn harness(way: Way) -> Harness {
    let spec = PluginSpec::by_hand("word", move |_| Ok(Word(way)));
    Harness::builder().spec(spec).build().await
}

async fn difference(way: Way, answer: &str) -> Option<SplitDifference> {
    let splits = Splits::of_response(&said(Endpoint::ChatCompletions, answer)).expect("a text");
    harness(way).await.try_every_split(&Harness::request("Hi"), &splits, |_| {}).await.err()
}

fn request(endpoint: Endpoint) -> Request {
    let body = json!({"model": super::super::MODEL, "prompt": "Hi", "input": "Hi", "messages": [{"role": "user", "content": "Hi"}]});
    Request::of(endpoint, &body).expect("a request")
}

#[tokio::test]
async fn t3_a_guard_that_holds_is_accepted_on_every_endpoint() {
    for endpoint in [Endpoint::ChatCompletions, Endpoint::Completions, Endpoint::Responses] {
        let reply = harness(Way::Refuse).await.every_split(request(endpoint), "The falcon flies.").await;
        reply.assert_rejected(403);
        assert_eq!(reply.text(), "The ", "{endpoint}");
        let reply = harness(Way::Mask).await.every_split(request(endpoint), "The falcon fal").await;
        reply.assert_text("The bird fal");
    }
}

#[tokio::test]
async fn t3_a_guard_that_judges_each_piece_alone_is_found() {
    let difference = difference(Way::RefuseWithoutHolding, "The falcon flies.").await.expect("a leak");
    assert_eq!(difference.pieces, ["The f", "alcon flies."]);
    let message = difference.to_string();
    let begin = "choice 0, content comes as \"The f\" and \"alcon flies.\"\n  error: the client reads \"\", expected \"";
    assert!(message.starts_with(begin) && message.contains("no falcons"), "{message}");
}

#[tokio::test]
async fn t3_a_mask_that_depends_on_the_split_is_found() {
    let difference = difference(Way::MaskEachPart, "The falcon").await.expect("a difference");
    assert_eq!(
        difference.to_string(),
        "choice 0, content comes as \"The f\" and \"alcon\"\n  choice 0, content: the client reads \"The falcon\", expected \"The **\""
    );
}

#[tokio::test]
async fn t3_a_hook_that_fails_at_one_split_and_an_error_that_differs_are_found() {
    let stumbled = difference(Way::Stumble, "The falcon").await.expect("a failure");
    assert_eq!(stumbled.pieces, ["The", " falcon"]);
    assert_eq!(stumbled.failures, ["`word` in on_text: a piece that this plugin does not like"]);
    let told = difference(Way::Tell, "The falcon").await.expect("a difference");
    assert!(told.to_string().contains("error: "), "{told}");
}

/// Adds a tool call to a piece.
struct Calls;

impl Plugin for Calls {
    type Config = NoConfig;

    fn new(_: NoConfig, _: Host) -> Result<Self> {
        Err(Error::new("made by hand"))
    }

    async fn on_stream_chunk(&self, _: &mut Context<'_>, chunk: &mut Chunk<'_>) -> Result<ChunkFlow> {
        if chunk.delta() == Some("i") {
            let call = json!({"index": 0, "id": "c", "function": {"name": "f", "arguments": "{}"}});
            chunk.set("/choices/0/delta/tool_calls", json!([call]))?;
        }
        Ok(ChunkFlow::Forward)
    }
}

#[tokio::test]
async fn calls_are_compared_too() {
    let harness = Harness::builder().spec(PluginSpec::by_hand("calls", |_| Ok(Calls))).build().await;
    let splits = Splits::of_response(&said(Endpoint::ChatCompletions, "Hi")).expect("a text");
    let found = harness.try_every_split(&Harness::request("Hi"), &splits, |_| {}).await;
    let found = found.err().expect("a difference");
    assert_eq!(found.pieces, ["H", "i"]);
    let read: Vec<_> = found.read.into_iter().map(|(place, text)| format!("{place}: {text}")).collect();
    let call = ["arguments: {}", "id: c", "name: f"].map(|label| format!("choice 0, tool call 0, {label}"));
    assert_eq!(read, call);
}
