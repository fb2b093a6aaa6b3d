//! `pii_redact`: nothing personal goes upstream, all of it comes back, wherever chunks are cut.

use llmux_core::{Endpoint, Request, testing::Harness};
use serde_json::{Value, json};

#[path = "../../examples/pii_redact.rs"]
pub mod pii_redact;

mod support;

use pii_redact::PiiRedact;

const QUESTION: &str = "Write to ann@example.com, or +1 555-123-4567; card 4111 1111 1111 1111.";
const MASKED: &str = "Write to [EMAIL_1], or [PHONE_2]; card [CARD_3].";

async fn new() -> Harness {
    Harness::new::<PiiRedact>(json!({})).await
}

async fn hides_and_restores(harness: Harness) {
    // The upstream repeats what it read.
    harness.chat(QUESTION).await.assert_text(QUESTION);
    harness.assert_sent("/messages/0/content", MASKED);
    harness.chat_stream(QUESTION).await.assert_text(QUESTION);
    harness.assert_sent("/messages/0/content", MASKED);
    harness.stream_text(&["to [EM", "AIL", "_1", "] and [", "x]"]);
    harness.chat_stream(QUESTION).await.assert_text("to ann@example.com and [x]");
    harness.unload().await;
}

#[tokio::test]
async fn what_is_hidden_from_the_provider_is_restored_for_the_caller() {
    hides_and_restores(new().await).await;
}

#[tokio::test]
async fn so_it_is_from_a_library() {
    hides_and_restores(Harness::library(support::library("pii_redact"), json!({})).await).await;
}

#[tokio::test]
async fn every_cut_of_a_stream_gives_the_same_text() {
    let harness = new().await;
    for first in 0..=MASKED.len() {
        for second in first..=MASKED.len() {
            harness.stream_text(&[&MASKED[..first], &MASKED[first..second], &MASKED[second..]]);
            let reply = harness.chat_stream(QUESTION).await;
            reply.assert_text(QUESTION);
            assert_eq!(reply.body()["choices"][0]["finish_reason"], "stop", "the end is the last thing said");
        }
    }
}

#[tokio::test]
async fn no_more_is_withheld_than_a_placeholder_may_span() {
    let harness = new().await;
    harness.stream_text(&["a [b", " [EMAIL_", "9] c", " [PHO"]);
    let reply = harness.chat_stream("ann@example.com").await;
    let texts: Vec<_> =
        reply.chunks().iter().filter_map(|chunk| chunk["choices"][0]["delta"]["content"].as_str()).collect();
    assert_eq!(texts, ["a [b", " ", "[EMAIL_9] c", " [PHO"], "[PHO begins nothing that this request hides");
}

#[tokio::test]
async fn choices_are_withheld_apart_and_what_is_left_comes_at_the_end() {
    let harness = new().await;
    let chunk = |index: u64, text: &str| json!({"choices": [{"index": index, "delta": {"content": text}, "finish_reason": null}]});
    harness.stream(vec![chunk(0, "0: [EMA"), chunk(1, "1: [EMAIL"), chunk(0, "IL_1]"), chunk(1, "_1")]);
    let reply = harness.chat_stream("ann@example.com").await;
    let text_of = |index: u64| -> String {
        let choices = reply.chunks().iter().map(|chunk| &chunk["choices"][0]);
        let texts = choices.filter(|choice| choice["index"] == index);
        texts.filter_map(|choice| choice["delta"]["content"].as_str()).collect()
    };
    assert_eq!((text_of(0).as_str(), text_of(1).as_str()), ("0: ann@example.com", "1: [EMAIL_1"));
}

#[tokio::test]
async fn parts_and_tool_calls_are_words_too_and_pictures_are_not() {
    let harness = new().await;
    let picture = "data:image/png;base64,4111111111111111";
    let body = json!({"messages": [
        {"role": "user", "content": [
            {"type": "text", "text": "I am ann@example.com"},
            {"type": "image_url", "image_url": {"url": picture}},
        ]},
        {"role": "assistant", "tool_calls": [{"id": "1", "function": {"name": "f", "arguments": "{\"to\":\"bob@example.com\"}"}}]},
        {"role": "user", "content": "ann@example.com again"},
    ]});
    harness.chat(&body).await.assert_text("ann@example.com again");
    harness
        .assert_sent("/messages/0/content/0/text", "I am [EMAIL_1]")
        .assert_sent("/messages/0/content/1/image_url/url", picture)
        .assert_sent("/messages/1/tool_calls/0/function/arguments", "{\"to\":\"[EMAIL_2]\"}")
        .assert_sent("/messages/2/content", "[EMAIL_1] again");
}

#[tokio::test]
async fn what_is_and_what_is_not_personal() {
    let harness = new().await;
    for (text, masked) in [
        ("a.b+c@mail.example.co.uk.", "[EMAIL_1]."),
        ("<ann@example.com>,bob@example.com", "<[EMAIL_1]>,[EMAIL_2]"),
        ("user@localhost @ann a@b", "user@localhost @ann a@b"),
        ("(555) 123-4567 or 1-555-123-4567", "[PHONE_1] or [PHONE_2]"),
        ("call.555.123.4567", "call.[PHONE_1]"),
        ("+49 (30) 901820", "[PHONE_1]"),
        ("5500-0000-0000-0004 378282246310005", "[CARD_1] [CARD_2]"),
        ("4111 1111 1111 1112", "4111 1111 1111 1112"),
        (
            "2024-01-15 10:30, 1700000000000, v1.2.3, 10.0.0.1",
            "2024-01-15 10:30, 1700000000000, v1.2.3, 10.0.0.1",
        ),
        ("é555-123-4567ü", "é[PHONE_1]ü"),
        ("", ""),
    ] {
        harness.chat(text).await.assert_text(text);
        harness.assert_sent("/messages/0/content", masked);
    }
}

#[tokio::test]
async fn other_endpoints_are_guarded_too() {
    let harness = new().await;
    for (endpoint, member) in [(Endpoint::Responses, "input"), (Endpoint::Completions, "prompt")] {
        let body = json!({"model": "test-model", member: "ask ann@example.com twice"});
        let request = || Request::of(endpoint, &body).expect("a request");
        harness.send(request()).await.assert_text("ask ann@example.com twice");
        harness.assert_sent(&format!("/{member}"), "ask [EMAIL_1] twice");
        let reply = harness.stream_request(request()).await;
        reply.assert_text("ask ann@example.com twice");
        harness.assert_sent(&format!("/{member}"), "ask [EMAIL_1] twice");
        assert!(!json!(reply.chunks()).to_string().contains("EMAIL"), "{:?}", reply.chunks());
    }
}

#[tokio::test]
async fn a_request_without_anything_to_hide_is_not_touched() {
    let harness = new().await;
    harness.chat(json!({"messages": [{"role": "user", "content": "hi"}], "seed": 1})).await.assert_ok();
    harness
        .assert_sent("/seed", 1)
        .assert_sent("/messages/0/content", "hi")
        .assert_sent("/input", Value::Null);
}
