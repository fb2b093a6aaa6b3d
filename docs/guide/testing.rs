//! Code of `testing.md`: tests of the example `budget`, as its author writes them. Compiled and run by
//! `llmux-abi/example-tests`.

use std::{sync::Arc, time::Duration};

use llmux_core::{PluginSpec, pipeline::Identity};
use llmux_testing::Harness;
use serde_json::json;

#[path = "../../llmux-abi/examples/budget.rs"]
pub mod budget;

use budget::Budget;

#[tokio::test]
async fn an_answer_says_what_is_left() {
    let harness = Harness::new::<Budget>(json!({"tokens": 8})).await;
    harness.respond_text("Two words.");
    harness.chat("Two words?").await.assert_text("Two words.").assert_header("x-budget-remaining", "8");
}

#[tokio::test]
async fn what_is_spent_is_charged() {
    let harness = Harness::new::<Budget>(json!({"tokens": 4})).await;
    harness.stream_text(&["Two ", "words."]);
    harness.chat_stream("Two words?").await.assert_text("Two words.");
    harness.completed().await; // `on_complete` runs after the answer
    assert_eq!(harness.metric("budget_tokens_charged_total", &[("user", "anonymous")]), Some(4.0));
    harness.chat("More?").await.assert_rejected(429);
    assert_eq!(harness.sent().len(), 1, "what is refused is not sent");
}

#[tokio::test]
async fn a_failed_request_costs_nothing() {
    let harness = Harness::new::<Budget>(json!({"tokens": 1})).await;
    harness.fail(500, "down");
    harness.chat("?").await.assert_rejected(500);
    harness.completed().await;
    harness.chat("?").await.assert_ok();
}

#[tokio::test(start_paused = true)]
async fn a_period_ends() {
    let harness = Harness::new::<Budget>(json!({"tokens": 1, "period_seconds": 60})).await;
    harness.chat("?").await.assert_ok();
    harness.completed().await;
    harness.chat("?").await.assert_rejected(429);
    tokio::time::advance(Duration::from_secs(60)).await;
    harness.chat("?").await.assert_ok();
}

#[tokio::test]
async fn users_do_not_share_a_budget() {
    let harness = Harness::new::<Budget>(json!({"tokens": 1})).await;
    for user in ["ann", "bob"] {
        let identity = Identity { key_id: "k1".into(), user: Some(user.into()), team: None };
        let request = Harness::request("?").with_identity(Some(Arc::new(identity)));
        harness.send(request).await.assert_ok();
        harness.completed().await;
    }
}

#[tokio::test]
async fn two_budgets_run_by_their_priorities() {
    let of = |name: &str, tokens: u64| {
        PluginSpec::compiled::<Budget>().with_name(name).with_config(json!({"tokens": tokens}))
    };
    let builder =
        Harness::builder().spec(of("wide", 100).with_priority(2)).spec(of("narrow", 0).with_priority(1));
    let harness = builder.build().await;
    let refused = harness.chat("?").await;
    refused.assert_rejected(429);
    assert_eq!(refused.error().map(|error| error.message()), Some("the budget of 0 tokens is spent"));
    assert_eq!(refused.header("x-budget-remaining"), None, "the second one's turn did not come");
}

#[tokio::test]
async fn a_wrong_configuration_does_not_start() {
    let refused = Harness::builder().plugin::<Budget>(json!({"tokens": "many"})).try_build().await;
    let error = refused.err().expect("refused").to_string();
    assert!(error.ends_with("`/tokens`: a string is not of type \"integer\""), "{error}");
}
