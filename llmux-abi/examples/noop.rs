//! Implements the hooks of a request and does nothing in them, to measure the cost of a hook call itself.
//! Has no configuration.
use llmux_abi::prelude::*;

struct Noop;

impl Plugin for Noop {
    type Config = NoConfig;

    fn new(_: NoConfig, _: Host) -> Result<Self> {
        Ok(Self)
    }

    // Implemented on purpose: the host does not call a hook that is not implemented.
    async fn pre_hook(&self, _: &mut Context<'_>, _: &mut Request<'_>) -> Result<Flow> {
        Ok(Flow::Continue)
    }

    async fn post_hook(&self, _: &mut Context<'_>, _: &mut Outcome<'_>) -> Result<()> {
        Ok(())
    }

    async fn on_stream_chunk(&self, _: &mut Context<'_>, _: &mut Chunk<'_>) -> Result<ChunkFlow> {
        Ok(ChunkFlow::Forward)
    }
}

export_plugin!(Noop, name: "noop");
