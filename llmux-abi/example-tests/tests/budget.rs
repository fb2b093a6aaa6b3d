//! `budget`: tokens stay spent until the period is over.

use std::{sync::Arc, time::Duration};

use llmux_core::pipeline::Identity;
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
