//! Code of `streams.md`: chunks edited, counted and produced. Compiled and run by `llmux-abi/example-tests`.

use std::time::Duration;

use llmux_abi::{prelude::*, types::text_chunk};
use llmux_core::PluginSpec;
use llmux_testing::Harness;

/// Ends every stream that is too long, and emits its length at the end.
struct Limit;

impl Plugin for Limit {
    type Config = NoConfig;

    fn new(_: NoConfig, _: Host) -> Result<Self> {
        Ok(Self)
    }

    async fn on_stream_chunk(&self, ctx: &mut Context<'_>, chunk: &mut Chunk<'_>) -> Result<ChunkFlow> {
        // Not every chunk adds text: the first may have only the role, the last only the finish reason.
        let Some(delta) = chunk.delta() else { return Ok(ChunkFlow::Forward) };
        if delta.trim().is_empty() {
            return Ok(ChunkFlow::Drop);
        }
        let shown = delta.replace("damn", "d**n");
        let said = ctx.state::<usize>();
        *said += shown.len();
        if *said > 20 {
            return Ok(ChunkFlow::End(Error::new("the answer is too long").with_status(502)));
        }
        chunk.set_delta(&shown)?;
        Ok(ChunkFlow::Forward)
    }

    async fn post_stream_hook(&self, ctx: &mut Context<'_>, end: &mut StreamEnd<'_>) -> Result<()> {
        let said = *ctx.state::<usize>();
        match end.ending() {
            Ending::Completed => end.emit(text_chunk(&format!(" [{said} bytes]")))?,
            Ending::Failed(error) => warn!(%error, said, "the stream broke off"),
            Ending::Cancelled => debug!(said, "nobody reads any more"),
        }
        Ok(())
    }
}

/// Answers with a stream that the plugin produces.
struct Countdown {
    host: Host,
}

impl Plugin for Countdown {
    type Config = NoConfig;

    fn new(_: NoConfig, host: Host) -> Result<Self> {
        Ok(Self { host })
    }

    async fn pre_stream_hook(&self, _ctx: &mut Context<'_>, _: &mut Request<'_>) -> Result<StreamFlow> {
        Ok(Streamed::new(Numbers { host: self.host.clone(), left: 3 }).into())
    }
}

/// Source that the host asks for the next chunk when the client has read the last one.
struct Numbers {
    host: Host,
    left: u32,
}

impl ChunkSource for Numbers {
    async fn next(&mut self) -> Option<Result<serde_json::Value>> {
        if self.left == 0 {
            return None;
        }
        self.host.sleep(Duration::from_secs(1)).await;
        let chunk = text_chunk(&format!("{}… ", self.left));
        self.left -= 1;
        Some(Ok(chunk))
    }
}

#[tokio::test]
async fn chunks_are_edited_dropped_and_added() {
    let harness = Harness::builder().spec(PluginSpec::of::<Limit>("limit")).build().await;
    harness.stream_text(&["oh", " ", " damn"]);
    harness.chat_stream("?").await.assert_text("oh d**n [7 bytes]");
}

#[tokio::test]
async fn a_stream_can_be_ended_with_an_error() {
    let harness = Harness::builder().spec(PluginSpec::of::<Limit>("limit")).build().await;
    harness.stream_text(&["twelve bytes", "twelve bytes"]);
    let reply = harness.chat_stream("?").await;
    reply.assert_rejected(502);
    assert_eq!(reply.text(), "twelve bytes", "what went out before the error");
    harness.assert_logged("the stream broke off");
}

#[tokio::test(start_paused = true)]
async fn a_stream_of_its_own_may_take_its_time() {
    let harness = Harness::builder().spec(PluginSpec::of::<Countdown>("countdown")).build().await;
    let reply = harness.chat_stream("?").await;
    reply.assert_text("3… 2… 1… ");
    assert_eq!(reply.chunks().len(), 3);
    harness.assert_nothing_sent();
}
