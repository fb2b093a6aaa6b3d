//! Code of `answers.md`: answers of plugins, and errors. Compiled and run by `llmux-abi/example-tests`.

use llmux_abi::prelude::*;
use llmux_core::PluginSpec;
use llmux_testing::Harness;
use serde_json::json;

struct Desk;

impl Plugin for Desk {
    type Config = NoConfig;

    fn new(_: NoConfig, _: Host) -> Result<Self> {
        Ok(Self)
    }

    async fn pre_hook(&self, _ctx: &mut Context<'_>, request: &mut Request<'_>) -> Result<Flow> {
        match request.last_user_text().as_deref() {
            // Answers: neither the provider nor a later pre hook is called.
            Some("ping") => {
                let pong = Response::text("pong").with_model(request.model()).with_usage(1, 1);
                Ok(ShortCircuit::respond(pong).with_metadata("desk.answered", true).into())
            }
            // Refuses, and allows no fallback.
            Some("secret") => {
                let error =
                    Error::forbidden("not for everybody").with_code("not_allowed").with_param("messages");
                Ok(ShortCircuit::reject(error).with_allow_fallback(false).into())
            }
            // Refuses, and lets the next fallback answer.
            Some("busy") => Ok(ShortCircuit::reject(Error::unavailable("busy").with_retry_after(1.5)).into()),
            _ => Ok(Flow::Continue),
        }
    }

    async fn post_hook(&self, _ctx: &mut Context<'_>, outcome: &mut Outcome<'_>) -> Result<()> {
        // Recovers: an error becomes a response.
        if outcome.error().is_some_and(|error| error.status() == 504) {
            return outcome.recover(Response::text("That took too long. Please ask again."));
        }
        // Converts: a response becomes an error.
        if outcome.response().is_some_and(|response| response.finish_reason() == Some("content_filter")) {
            return outcome
                .fail(Error::new("the provider withheld the answer").with_status(502).with_code("withheld"));
        }
        // Edits: the error stays an error, with another message.
        if let Some(mut error) = outcome.error_document() {
            error.set("/error/message", "the provider is not well")?;
        }
        Ok(())
    }
}

async fn desk() -> Harness {
    let builder = Harness::builder().spec(PluginSpec::of::<Desk>("desk")).models(["spare"]);
    builder.fallbacks("test-model", &["spare"]).build().await
}

#[tokio::test]
async fn a_response_answers_in_the_providers_place_for_streams_too() {
    let harness = desk().await;
    harness.chat("ping").await.assert_text("pong").assert_value("desk.answered", true);
    harness.chat_stream("ping").await.assert_text("pong");
    harness.assert_nothing_sent();
}

#[tokio::test]
async fn a_refusal_for_good_ends_the_request() {
    let harness = desk().await;
    let refused = harness.chat("secret").await;
    refused.assert_rejected(403);
    assert_eq!(refused.attempts(), 1);
    assert_eq!(refused.error().and_then(|error| error.code()), Some("not_allowed"));
}

#[tokio::test]
async fn a_refusal_here_is_followed_by_the_fallbacks() {
    let refused = desk().await.chat("busy").await;
    refused.assert_rejected(503);
    assert_eq!(refused.attempts(), 2);
}

#[tokio::test]
async fn post_hooks_recover_convert_and_edit() {
    let harness = desk().await;
    harness.fail(504, "upstream timed out");
    harness.chat("Hi").await.assert_text("That took too long. Please ask again.");
    let withheld = json!({"index": 0, "message": {"content": ""}, "finish_reason": "content_filter"});
    harness.respond(json!({"choices": [withheld]})).fail(500, "stack trace");
    let failed = harness.chat("Hi").await;
    failed.assert_rejected(500);
    assert_eq!(
        (failed.attempts(), failed.error().expect("an error").message()),
        (2, "the provider is not well")
    );
}
