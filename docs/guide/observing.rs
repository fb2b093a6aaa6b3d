//! Code of `observing.md`: logs and metrics. Compiled and run by `llmux-abi/example-tests`.

use llmux_abi::{Counter, Histogram, prelude::*};
use llmux_core::PluginSpec;
use llmux_testing::Harness;

struct Observer {
    requests: Counter,
    seconds: Histogram,
}

impl Plugin for Observer {
    type Config = NoConfig;

    fn new(_: NoConfig, host: Host) -> Result<Self> {
        let requests = host.counter("observer_requests_total", "Requests", &["model", "status"])?;
        let seconds = host.histogram("observer_seconds", "Latency", &["model"], &[0.1, 1.0, 10.0])?;
        Ok(Self { requests, seconds })
    }

    async fn pre_hook(&self, ctx: &mut Context<'_>, request: &mut Request<'_>) -> Result<Flow> {
        // Fields, so that JSON logs can be searched by them. Never log the prompt.
        info!(request_id = ctx.request_id(), model = request.model(), user = ctx.user(), "asked");
        Ok(Flow::Continue)
    }

    async fn on_complete(&self, ctx: &mut Context<'_>, completion: &Completion<'_>) {
        // The values of the labels, in the order of their names.
        self.requests.increment(&[ctx.model(), &completion.status().to_string()]);
        self.seconds.observe(&[ctx.model()], completion.latency().as_secs_f64());
    }
}

#[tokio::test]
async fn a_request_is_logged_and_counted() {
    let harness = Harness::builder().spec(PluginSpec::of::<Observer>("observer")).build().await;
    harness.fail(503, "down");
    harness.chat("Hi").await.assert_rejected(503);
    harness.chat("Hi").await.assert_ok();
    harness.completed().await;
    harness.assert_logged("asked request_id=").assert_logged("model=test-model");
    let of_model = [("plugin", "observer"), ("model", "test-model")];
    assert_eq!(harness.metric("observer_requests_total", &of_model), Some(2.0));
    assert_eq!(harness.metric("observer_requests_total", &[("status", "503")]), Some(1.0));
    assert_eq!(harness.metric("observer_seconds_count", &of_model), Some(2.0));
}
