//! `secrets`: no key passes, in either direction, for any cut of the chunks.

use llmux_testing::{Harness, build::example};
use serde_json::json;

#[path = "../../examples/secrets.rs"]
pub mod secrets;

use secrets::Secrets;

const KEY: &str = "sk-abcdefghijklmnopqrstuvwx";

async fn masks(harness: Harness) {
    harness.chat(format!("My key is {KEY}.")).await.assert_text("My key is [api key].");
    harness.assert_sent("/messages/0/content", "My key is [api key].");
    harness.stream_text(&["Yours is sk-abcdefghij", "klmnopqrstuvwx, ", "a ta", "sk-force."]);
    harness.chat_stream("Hi").await.assert_text("Yours is [api key], a task-force.");
    assert_eq!(harness.failures(), Vec::<String>::new());
}

#[tokio::test]
async fn keys_are_masked_in_both_directions() {
    masks(Harness::new::<Secrets>(json!({})).await).await;
}

#[tokio::test]
async fn so_they_are_from_a_library() {
    masks(Harness::library(example("llmux-abi", "secrets"), json!({})).await).await;
}

#[tokio::test]
async fn every_cut_of_a_stream_gives_the_same_text() {
    let harness = Harness::new::<Secrets>(json!({})).await;
    let answer = format!("{KEY} AKIAABCDEFGHIJKLMNOP ghp_short");
    for at in 0..=answer.len() {
        for to in (at..=answer.len()).step_by(5) {
            harness.stream_text(&[&answer[..at], &answer[at..to], &answer[to..]]);
            harness.chat_stream("Hi").await.assert_text("[api key] [AWS access key] ghp_short");
        }
    }
}

#[tokio::test]
async fn text_that_cannot_become_a_key_is_not_held() {
    let harness = Harness::new::<Secrets>(json!({})).await;
    harness.stream_text(&["one ", "two s", "ix ", "three"]);
    let reply = harness.chat_stream("Hi").await;
    let texts: Vec<_> =
        reply.chunks().iter().filter_map(|chunk| chunk["choices"][0]["delta"]["content"].as_str()).collect();
    assert_eq!(texts, ["one ", "two ", "six ", "three"]);
}
