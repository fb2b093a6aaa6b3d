//! Rule S7: the head of a stream that is silent is sent early.

use std::time::Duration;

use llmux_core::{Client, Request};
use llmux_testing::ScriptedProvider;
use llmux_tests::{
    Turn, scripted,
    world::{all, builder, chat, told},
};
use tokio::time::{Instant, timeout};

const SECOND: Duration = Duration::from_secs(1);

async fn client(provider: &ScriptedProvider) -> Client {
    builder(provider).build().await.expect("a client")
}

fn early(after: Option<u32>, silence: Option<u32>) -> Request {
    chat("m").with_early_head(after.map(|after| after * SECOND), silence.map(|silence| silence * SECOND))
}

/// Asserts the time since a beginning, in whole seconds.
#[track_caller]
fn assert_passed(begin: Instant, seconds: u64) {
    assert_eq!(begin.elapsed().as_secs(), seconds);
}

#[tokio::test(start_paused = true)]
async fn s7_the_head_is_sent_after_a_time_and_the_chunks_follow() {
    let provider = scripted([Turn::text("late").after(60 * SECOND)]);
    let client = client(&provider).await;
    let begin = Instant::now();
    let reply = client.stream(early(Some(30), None)).await;
    assert_passed(begin, 30);
    assert_eq!(all(reply).await, ["late"]);
    assert_passed(begin, 60);
}

#[tokio::test(start_paused = true)]
async fn s7_the_head_is_sent_after_a_silence_of_a_provider_that_has_accepted() {
    let provider = scripted([Turn::stall(vec![]), Turn::text("late").after(60 * SECOND)]);
    let client = client(&provider).await;
    let begin = Instant::now();
    let reply = timeout(600 * SECOND, client.stream(early(None, Some(15)))).await.expect("an early head");
    assert_passed(begin, 15);
    assert!(reply.result.is_ok());
    drop(reply);
    // A provider that has not accepted the request is waited for.
    let begin = Instant::now();
    assert_eq!(all(client.stream(early(None, Some(15))).await).await, ["late"]);
    assert_passed(begin, 60);
}

#[tokio::test(start_paused = true)]
async fn s7_without_its_times_the_head_comes_with_the_first_chunk() {
    let provider = scripted([Turn::text("late").after(60 * SECOND), Turn::text("soon").after(SECOND)]);
    let client = client(&provider).await;
    let begin = Instant::now();
    let reply = client.stream(early(None, None)).await;
    assert_passed(begin, 60);
    assert_eq!(all(reply).await, ["late"]);
    let begin = Instant::now();
    let reply = client.stream(early(Some(30), Some(15))).await;
    assert_passed(begin, 1);
    assert_eq!(reply.deployment(), Some("p/m"), "the head is that of the first chunk");
    assert_eq!(all(reply).await, ["soon"]);
}

#[tokio::test(start_paused = true)]
async fn s7_a_fallback_is_possible_after_an_early_head() {
    let provider = scripted([Turn::error(403, "no").after(40 * SECOND), Turn::text("other").after(SECOND)]);
    let client = client(&provider).await;
    let begin = Instant::now();
    let reply = client.stream(early(Some(30), None).with_fallbacks(["n"])).await;
    assert_passed(begin, 30);
    assert_eq!(reply.deployment(), None, "not known yet");
    let mut stream = reply.result.expect("a stream");
    let first = stream.next().await.expect("a chunk").expect("a chunk");
    assert_eq!(stream.deployment(), Some("p/n"));
    assert!(String::from_utf8_lossy(&first.data()).contains("other"));
    assert_passed(begin, 41);
}

#[tokio::test(start_paused = true)]
async fn s7_a_final_failure_after_an_early_head_is_an_item_of_the_stream() {
    let provider = scripted([Turn::error(403, "no").after(40 * SECOND)]);
    let client = client(&provider).await;
    let reply = client.stream(early(Some(30), None)).await;
    let mut stream = reply.result.expect("a stream");
    let error = stream.next().await.expect("an item").expect_err("an error");
    assert!(told(&error).contains("no"), "{}", told(&error));
    assert!(stream.next().await.is_none());
}
