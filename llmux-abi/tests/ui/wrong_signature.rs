//! Hooks with a wrong signature: not async, `&mut self`, another result type.
use llmux_abi::prelude::*;

struct NotAsync;

impl Plugin for NotAsync {
    type Config = NoConfig;

    fn new(_: NoConfig, _: Host) -> Result<Self> {
        Ok(Self)
    }

    fn pre_hook(&self, _: &mut Context<'_>, _: &mut Request<'_>) -> Result<Flow> {
        Ok(Flow::Continue)
    }
}

struct ByMutableReference;

impl Plugin for ByMutableReference {
    type Config = NoConfig;

    fn new(_: NoConfig, _: Host) -> Result<Self> {
        Ok(Self)
    }

    async fn post_hook(&mut self, _: &mut Context<'_>, _: &mut Outcome<'_>) -> Result<()> {
        Ok(())
    }
}

struct AnotherAnswer;

impl Plugin for AnotherAnswer {
    type Config = NoConfig;

    fn new(_: NoConfig, _: Host) -> Result<Self> {
        Ok(Self)
    }

    async fn on_stream_chunk(&self, _: &mut Context<'_>, _: &mut Chunk<'_>) -> Result<Flow> {
        Ok(Flow::Continue)
    }
}

fn main() {}
