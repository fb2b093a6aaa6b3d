//! `budget`: tokens stay spent until the period is over.

use std::{sync::Arc, time::Duration};

use llmux_core::pipeline::Identity;
use llmux_example_tests::retry_json::RetryJson;
use llmux_plugin_cache::Cache;
use llmux_testing::{Harness, HarnessReply};
use serde_json::json;

#[path = "../../examples/budget.rs"]
pub mod budget;

use budget::Budget;

/// Tokens of one request: two words in the prompt, two in the response.
async fn spend(harness: &Harness, user: &str, streams: bool) -> HarnessReply {
    let identity = Identity { key_id: "k".to_owned(), user: Some(user.to_owned()), team: None };
    let request = Harness::request("two words").with_identity(Some(Arc::new(identity)));
    let reply = if streams { harness.stream_request(request).await } else { harness.send(request).await };
    harness.completed().await;
    reply
}

#[tokio::test(start_paused = true)]
async fn a_user_who_has_spent_the_budget_is_refused_until_the_period_is_over() {
    let harness = Harness::new::<Budget>(json!({"tokens": 8, "period_seconds": 60})).await;
    spend(&harness, "ann", false).await.assert_ok().assert_header("x-budget-remaining", "8");
    spend(&harness, "ann", true).await.assert_ok().assert_header("x-budget-remaining", "4");
    let refused = spend(&harness, "ann", false).await;
    refused.assert_rejected(429);
    let error = refused.error().expect("an error");
    assert_eq!(error.code(), Some("budget_exceeded"));
    let wait = error.retry_after().expect("when to come back");
    assert!(wait > Duration::from_secs(50) && wait <= Duration::from_secs(60), "{wait:?}");

    spend(&harness, "ann", true).await.assert_rejected(429);
    spend(&harness, "bob", false).await.assert_ok();
    assert_eq!(harness.metric("budget_tokens_charged_total", &[("user", "ann")]), Some(8.0));
    assert_eq!(harness.metric("budget_tokens_charged_total", &[]), Some(12.0));

    tokio::time::advance(Duration::from_secs(60)).await;
    spend(&harness, "ann", false).await.assert_ok();
}

#[tokio::test]
async fn what_fails_is_not_charged() {
    let harness = Harness::new::<Budget>(json!({"tokens": 1})).await;
    harness.fail(500, "down");
    spend(&harness, "ann", false).await.assert_rejected(500);
    spend(&harness, "ann", false).await.assert_ok();
    spend(&harness, "ann", false).await.assert_rejected(429);
}

#[tokio::test(start_paused = true)]
async fn the_bill_is_exact_beside_a_cache_and_a_plugin_that_replaces_answers() {
    let json = json!({"messages": [{"role": "user", "content": "as JSON"}], "response_format": {"type": "json_object"}});
    for streams in [false, true] {
        let harness = Harness::builder()
            .plugin::<Budget>(json!({"tokens": 1_000}))
            .plugin::<Cache>(json!({}))
            .plugin::<RetryJson>(json!({}))
            .build()
            .await;
        let ask = async |body: &serde_json::Value| {
            let reply = if streams { harness.chat_stream(body).await } else { harness.chat(body).await };
            harness.completed().await;
            (reply, harness.metric("budget_tokens_charged_total", &[]))
        };
        // Tokens are words: the prompt has two.
        let plain = json!("two words");
        harness.respond_text("three more words").respond_text("Sure! No JSON").respond_text("{\"a\": 1}");
        let (first, charged) = ask(&plain).await;
        first.assert_ok().assert_header("x-cache", "miss");
        assert_eq!(charged, Some(5.0), "streams: {streams}");
        let (again, charged) = ask(&plain).await;
        again.assert_ok().assert_header("x-cache", "hit");
        assert_eq!(charged, Some(5.0), "an answer from the cache costs nothing");
        let (replaced, charged) = ask(&json).await;
        assert_eq!(replaced.error().and_then(llmux_core::Error::code), Some("not_the_json_asked_for"));
        assert_eq!(charged, Some(10.0), "the provider counted the answer that the client did not get");
        let (accepted, charged) = ask(&json).await;
        accepted.assert_ok().assert_header("x-cache", "miss");
        assert_eq!(charged, Some(14.0));
        let (_, charged) = ask(&json).await;
        assert_eq!(charged, Some(14.0));
        assert_eq!(harness.sent().len(), 3);
    }
}

#[tokio::test(start_paused = true)]
async fn the_bill_is_the_sum_of_all_attempts() {
    let harness = Harness::builder()
        .plugin::<Budget>(json!({"tokens": 1_000}))
        .plugin::<RetryJson>(json!({}))
        .models(["spare"])
        .fallbacks("test-model", &["spare"])
        .build()
        .await;
    harness.respond_text("Sure! No JSON").respond_text("{\"a\": 1}");
    let json = json!({"messages": [{"role": "user", "content": "as JSON"}], "response_format": {"type": "json_object"}});
    harness.chat(json).await.assert_ok();
    harness.completed().await;
    assert_eq!(harness.sent().len(), 2, "the answer of the first model is refused, and the second is asked");
    let charged = harness.metric("budget_tokens_charged_total", &[]);
    assert_eq!(charged, Some(9.0), "five tokens for the refused answer, four for the other");
}
