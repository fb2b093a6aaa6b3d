//! Code of `request.md`: data that the hooks of one request share. Compiled and run by `llmux-abi/example-tests`.

use std::time::Duration;

use llmux_abi::prelude::*;
use llmux_core::PluginSpec;
use llmux_testing::Harness;

struct Timing {
    host: Host,
}

#[derive(Default)]
struct Asked {
    at: Duration,
    questions: u32,
}

impl Plugin for Timing {
    type Config = NoConfig;

    fn new(_: NoConfig, host: Host) -> Result<Self> {
        Ok(Self { host })
    }

    async fn pre_hook(&self, ctx: &mut Context<'_>, request: &mut Request<'_>) -> Result<Flow> {
        // Private to this instance and this request.
        let asked = ctx.state::<Asked>();
        asked.at = self.host.now();
        asked.questions += 1;
        // Shared with every later hook of this attempt, of every plugin.
        ctx.set("timing.messages", request.messages().len() as i64)?;
        // Sent to the caller.
        ctx.set_response_header("x-attempt", &ctx.attempt().to_string())?;
        Ok(Flow::Continue)
    }

    async fn on_complete(&self, ctx: &mut Context<'_>, completion: &Completion<'_>) {
        let asked = ctx.state::<Asked>();
        let (questions, took) = (asked.questions, self.host.now() - asked.at);
        let status = completion.status();
        info!(request_id = ctx.request_id(), status, questions, ms = took.as_millis() as u64, "over");
    }
}

#[tokio::test]
async fn state_lasts_for_the_request_and_values_for_the_attempt() {
    let builder = Harness::builder().spec(PluginSpec::of::<Timing>("timing")).models(["spare"]);
    let harness = builder.fallbacks("test-model", &["spare"]).build().await;
    harness.fail(503, "down");
    let reply = harness.chat("Hello!").await;
    reply.assert_text("Hello!").assert_header("x-attempt", "2").assert_value("timing.messages", 1);
    harness.completed().await;
    harness.assert_logged("status=200 questions=2");
}
