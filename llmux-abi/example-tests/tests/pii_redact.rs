//! `pii_redact`: no personal text is sent upstream, and the client receives all of it again, for any cut of the chunks.

use llmux_core::{Endpoint, Request};
use llmux_testing::{Harness, build::example};
use proptest::prelude::*;
use regex::Regex;
use serde_json::{Value, json};

#[path = "../../examples/pii_redact.rs"]
pub mod pii_redact;

use pii_redact::PiiRedact;

const QUESTION: &str = "Write to ann@example.com, or +1 555-123-4567; card 4111 1111 1111 1111.";
const MASKED: &str = "Write to [EMAIL_1], or [PHONE_2]; card [CARD_3].";

async fn new() -> Harness {
    Harness::new::<PiiRedact>(json!({})).await
}

async fn hides_and_restores(harness: Harness) {
    // The upstream repeats the text of the request.
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
    hides_and_restores(Harness::library(example("llmux-abi", "pii_redact"), json!({})).await).await;
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
        ("5 4111 1111 1111 1111 12", "5 [CARD_1] 12"),
        ("3000 0000 0000 000 4111 1111 1111 1111", "3000 0000 0000 000 [CARD_1]"),
        ("[EMAIL_2] ann@example.com", "[TEXT_1] [EMAIL_2]"),
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

#[tokio::test]
async fn tool_calls_are_restored_in_streams() {
    let harness = new().await;
    let chunk = |call: u64, text: &str| {
        let calls = json!([{"index": call, "function": {"arguments": text}}]);
        json!({"choices": [{"index": 0, "delta": {"tool_calls": calls}, "finish_reason": null}]})
    };
    harness.stream(vec![
        chunk(0, "{\"to\":\"[EMA"),
        chunk(1, "{\"to\":\"[E"),
        chunk(0, "IL_1]\"}"),
        chunk(1, "x\"}"),
    ]);
    let reply = harness.chat_stream("ann@example.com").await;
    let said = |call: u64| -> String {
        let calls = reply.chunks().iter().map(|chunk| &chunk["choices"][0]["delta"]["tool_calls"][0]);
        let texts = calls.filter(|there| there["index"] == call);
        texts.filter_map(|call| call["function"]["arguments"].as_str()).collect()
    };
    assert_eq!(said(0), "{\"to\":\"ann@example.com\"}");
    assert_eq!(said(1), "{\"to\":\"[Ex\"}");
}

/// Generates texts of words to mask, words that look like them, and beginnings of placeholders.
fn words() -> impl Strategy<Value = String> {
    let word = prop_oneof![
        3 => prop::sample::select(vec![
            "ann@example.com", "b.c+d@mail.example.co.uk", "+1 555-123-4567", "(555) 123-4567", "4111 1111 1111 1111",
            "378282246310005", "4111 1111 1111 1112", "[EMAIL_1]", "[TEXT_1]", "[PHONE_2]", "[EMAIL_", "[", "]", "[[",
            "_1]", "@", "a@b", "+", " ", "é",
        ]).prop_map(str::to_owned),
        1 => "\\PC{0,6}",
        1 => "[0-9 .()+-]{0,24}",
    ];
    prop::collection::vec(word, 0..12).prop_map(|words| words.concat())
}

/// Returns a text in pieces, cut at these indices.
fn pieces(text: &str, cuts: &[prop::sample::Index]) -> Vec<String> {
    let mut ends: Vec<usize> = text.char_indices().map(|(at, _)| at).collect();
    ends.push(text.len());
    let mut cuts: Vec<usize> = cuts.iter().map(|cut| *cut.get(&ends)).chain([0, text.len()]).collect();
    cuts.sort_unstable();
    cuts.windows(2).map(|cut| text[cut[0]..cut[1]].to_owned()).collect()
}

fn as_strs(texts: &[String]) -> Vec<&str> {
    texts.iter().map(String::as_str).collect()
}

/// Returns the content of the message that was sent upstream.
fn sent(harness: &Harness) -> String {
    harness.sent().last().expect("a body")["messages"][0]["content"].as_str().expect("a text").to_owned()
}

/// Returns the placeholders in a text.
fn masks(text: &str) -> Vec<&str> {
    let pattern = Regex::new(r"\[(EMAIL|PHONE|CARD|TEXT)_[0-9]+\]").expect("a pattern");
    pattern.find_iter(text).map(|found| found.as_str()).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_text_comes_back_as_it_was_and_nothing_personal_goes_upstream(text in words()) {
        block_on(async {
            let harness = new().await;
            // The upstream repeats the text of the request.
            harness.chat(&text).await.assert_text(&text);
            let masked = sent(&harness);
            harness.chat_stream(&text).await.assert_text(&text);
            harness.chat(&masked).await.assert_ok();
            let twice = sent(&harness);
            assert_eq!(masks(&masked).len(), masks(&twice).len(), "masked twice, {masked:?} became {twice:?}");
        });
    }

    #[test]
    fn a_cut_text_is_the_text_and_no_piece_waits_longer_than_it_must(
        text in words(),
        tail in words(),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..8),
    ) {
        block_on(async {
            let harness = new().await;
            harness.chat(&text).await.assert_ok();
            let masked = sent(&harness);
            // A possible response: the text of the request, and text that looks like it.
            let answer = format!("{masked}{tail}{masked}");
            harness.respond_text(&answer);
            let plain = harness.chat(&text).await.text();
            let pieces = pieces(&answer, &cuts);
            harness.stream_text(&as_strs(&pieces));
            let reply = harness.chat_stream(&text).await;
            reply.assert_text(&plain);
            // With each chunk the client has all text so far, except an end that may become a placeholder.
            let known = masks(&masked);
            let (mut came, mut said) = (String::new(), String::new());
            for (piece, chunk) in pieces.iter().zip(reply.chunks()) {
                came += piece;
                said += chunk["choices"][0]["delta"]["content"].as_str().unwrap_or_default();
                let begins = |at: &usize| known.iter().any(|mask| mask.len() > came.len() - at && mask.starts_with(&came[*at..]));
                let waits = (0..came.len()).filter(|at| came.is_char_boundary(*at)).find(begins).unwrap_or(came.len());
                harness.respond_text(&came[..waits]);
                let expected = harness.chat(&text).await.text();
                assert_eq!(said, expected, "after {came:?}");
            }
        });
    }
}

fn block_on(test: impl Future<Output = ()>) {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime").block_on(test);
}
