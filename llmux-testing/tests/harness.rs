//! The harness itself: its view of a plugin, and the messages of its failed assertions.

use std::{
    panic::AssertUnwindSafe,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering::Relaxed},
    },
    time::Duration,
};

use futures_util::FutureExt;
use llmux_abi::{Counter, prelude::*};
use llmux_core::{PluginSpec, pipeline::PipelineConfig};
use llmux_testing::Harness;
use serde_json::json;

/// Plugin that reports its calls in every way that a plugin has: logs, metrics, headers and values.
struct Talker {
    host: Host,
    seen: Counter,
    completed: Arc<AtomicU32>,
}

impl Talker {
    fn spec(name: &str, completed: &Arc<AtomicU32>) -> PluginSpec {
        let completed = completed.clone();
        PluginSpec::by_hand(name, move |host| {
            let seen = host.counter("seen_total", "Requests seen", &["model"])?;
            Ok(Self { host, seen, completed })
        })
    }
}

impl Plugin for Talker {
    type Config = NoConfig;

    fn new(_: NoConfig, _: Host) -> Result<Self> {
        Err(Error::new("made by hand"))
    }

    async fn pre_hook(&self, ctx: &mut Context<'_>, request: &mut Request<'_>) -> Result<Flow> {
        info!(model = request.model(), words = 2, note = "two words", "seen");
        self.seen.increment(&[request.model()]);
        let seen_by = format!("{}{}", ctx.get_str("seen_by").unwrap_or_default(), self.host.instance());
        ctx.set("seen_by", seen_by)?;
        ctx.set_response_header("X-Seen", "yes")?;
        match request.last_user_text().as_deref() {
            Some("slow") => self.host.sleep(Duration::from_secs(3600)).await,
            Some("fail") => return Err(Error::new("as asked")),
            Some("reject") => return Ok(ShortCircuit::reject(Error::forbidden("no")).into()),
            _ => {}
        }
        Ok(Flow::Continue)
    }

    async fn on_complete(&self, _: &mut Context<'_>, completion: &Completion<'_>) {
        self.host.sleep(Duration::from_secs(5)).await;
        self.completed.fetch_add(1, Relaxed);
        debug!(status = completion.status(), cancelled = completion.cancelled(), "over");
    }

    async fn cleanup(&self) -> Result<()> {
        info!("cleaned up");
        Ok(())
    }
}

async fn talker() -> (Harness, Arc<AtomicU32>) {
    let completed = Arc::default();
    (Harness::builder().spec(Talker::spec("talker", &completed)).build().await, completed)
}

#[tokio::test(start_paused = true)]
async fn everything_that_a_plugin_does_can_be_seen() {
    let (harness, completed) = talker().await;
    let reply = harness.chat("hello").await;
    reply.assert_text("hello").assert_header("x-seen", "yes").assert_value("seen_by", "talker");
    harness.assert_sent("/model", "test-model").assert_sent("/messages/0/role", "user");
    harness.assert_logged("INFO harness: seen model=test-model words=2 note=\"two words\"");
    assert_eq!(harness.metric("seen_total", &[("plugin", "talker"), ("model", "test-model")]), Some(1.0));
    assert_eq!(harness.metric("seen_total", &[("plugin", "tal")]), None);
    assert!(harness.metrics().contains("# HELP seen_total Requests seen"));

    assert_eq!(completed.load(Relaxed), 0, "on_complete takes its time");
    harness.completed().await;
    assert_eq!(completed.load(Relaxed), 1);
    harness.assert_logged("over status=200 cancelled=false");
    harness.unload().await;
    harness.assert_logged("cleaned up");
    harness.chat("hello").await.assert_rejected(503);
}

#[tokio::test(start_paused = true)]
async fn timeouts_pass_at_once_when_time_is_paused() {
    let (harness, _) = talker().await;
    let reply = harness.chat("slow").await;
    assert_eq!(reply.text(), "slow", "by default a failure ends nothing");
    assert_eq!(reply.failures(), ["`talker` in pre_hook: ran past its timeout of 10s"]);
    assert_eq!(reply.header("x-seen"), None, "what a failed hook did is undone");
}

#[tokio::test(start_paused = true)]
async fn a_caller_who_goes_away_is_seen_too() {
    let (harness, completed) = talker().await;
    for streams in [false, true] {
        harness.hang();
        let asked = async { if streams { harness.chat_stream("x").await } else { harness.chat("x").await } };
        assert!(tokio::time::timeout(Duration::from_secs(1), asked).await.is_err());
        harness.completed().await;
    }
    assert_eq!(completed.load(Relaxed), 2);
    harness.assert_logged("over status=499 cancelled=true");
}

#[tokio::test]
async fn the_upstream_does_as_it_is_told() {
    let harness = Harness::builder().respond_text("one").stream_text(&["t", "wo"]).build().await;
    harness.fail(429, "slow down").stream_cut(&["th", "re"], "gone");
    harness
        .respond(json!({"choices": [{"index": 0, "message": {"content": "four"}, "finish_reason": "stop"}]}));
    harness.chat("?").await.assert_text("one");
    let reply = harness.chat_stream("?").await;
    reply.assert_text("two");
    assert_eq!((reply.chunks().len(), &reply.body()["choices"][0]["message"]["content"]), (3, &json!("two")));
    harness.chat_stream("?").await.assert_rejected(429);
    let cut = harness.chat_stream("?").await;
    cut.assert_rejected(502);
    assert_eq!((cut.text().as_str(), cut.error().expect("an error").message()), ("thre", "gone"));
    harness.chat_stream("?").await.assert_text("four");
    harness.chat("and then it repeats").await.assert_text("and then it repeats");
    assert_eq!(harness.sent().len(), 6, "nothing is retried");

    // Each kind of answer serves each kind of request.
    harness.stream_text(&["a", "b"]).stream_cut(&["a"], "gone").respond_text("ab");
    harness.chat("?").await.assert_text("ab");
    harness.chat("?").await.assert_rejected(502);
    harness.chat_stream("?").await.assert_text("ab");
}

#[tokio::test]
async fn plugins_run_by_their_priorities_and_settings() {
    let completed = Arc::default();
    let pipeline = PipelineConfig::default().with_propagate_errors(true);
    let builder = Harness::builder().pipeline(pipeline).models(["other"]);
    let builder =
        builder.spec(Talker::spec("b", &completed)).spec(Talker::spec("a", &completed).with_priority(1));
    let harness = builder.build().await;
    harness.chat(json!({"model": "other", "messages": []})).await.assert_ok().assert_value("seen_by", "ab");
    harness.chat("fail").await.assert_rejected(500);
    harness.chat_stream("reject").await.assert_rejected(403);
    harness.chat(json!({"model": "nobody's"})).await.assert_rejected(404);
}

#[tokio::test]
async fn two_harnesses_keep_their_logs_apart() {
    let ((first, _), (second, _)) = (talker().await, talker().await);
    second.chat("hello").await;
    assert_eq!((first.logs().len(), second.logs().len()), (0, 1));
    first.chat("hello").await;
    assert_eq!((first.logs().len(), second.logs().len()), (1, 1));
}

/// Returns the message of an assertion that must fail.
async fn said(run: impl Future<Output = ()>) -> String {
    let panic = AssertUnwindSafe(run).catch_unwind().await.expect_err("the assertion does not hold");
    panic.downcast_ref::<String>().cloned().unwrap_or_default()
}

#[tokio::test]
async fn an_assertion_that_does_not_hold_says_what_there_is() {
    let (harness, _) = talker().await;
    let harness = &harness;
    let nothing = said(async { _ = harness.assert_sent("/model", "m") }).await;
    assert_eq!(nothing, "nothing went upstream");
    let failed = said(async { _ = harness.chat("fail").await.assert_text("fail") }).await;
    assert!(failed.ends_with("not every hook did\n  failed: `talker` in pre_hook: as asked"), "{failed}");
    let other = said(async { _ = harness.assert_sent("/messages/0/content", "x") }).await;
    assert!(
        other.starts_with("`/messages/0/content` went upstream as \"fail\", not \"x\"; the whole"),
        "{other}"
    );
    let text = said(async { _ = harness.chat("hello").await.assert_text("bye") }).await;
    assert_eq!(text, "the answer says \"hello\", not \"bye\"");
    let status = said(async { _ = harness.chat("hello").await.assert_rejected(403) }).await;
    assert_eq!(status, "the request was not rejected, it says \"hello\"");
    let refused = said(async { _ = harness.chat("reject").await.assert_text("hello") }).await;
    assert_eq!(refused, "the request failed: permission_error (403): no");
    let header = said(async { _ = harness.chat("hello").await.assert_header("x-cache", "hit") }).await;
    assert_eq!(header, "nobody set the response header `x-cache`");
    let logged = said(async { _ = harness.assert_logged("nobody says this") }).await;
    assert!(
        logged.starts_with("no plugin logged \"nobody says this\"; there is:\n  INFO harness: seen"),
        "{logged}"
    );
}
