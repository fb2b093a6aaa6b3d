//! The plugin of the bench: its hooks read the model and change nothing.
use std::hint::black_box;

use llmux_abi::prelude::*;

struct ModelReader;

impl Plugin for ModelReader {
    type Config = NoConfig;

    fn new(_: NoConfig, _: Host) -> Result<Self> {
        Ok(Self)
    }

    async fn pre_hook(&self, _: &mut Context<'_>, request: &mut Request<'_>) -> Result<Flow> {
        black_box(request.model());
        Ok(Flow::Continue)
    }

    async fn post_hook(&self, _: &mut Context<'_>, outcome: &mut Outcome<'_>) -> Result<()> {
        black_box(outcome.response().as_ref().and_then(|response| response.model()));
        Ok(())
    }

    async fn on_stream_chunk(&self, _: &mut Context<'_>, _: &mut Chunk<'_>) -> Result<ChunkFlow> {
        Ok(ChunkFlow::Forward)
    }
}

export_plugin!(ModelReader, name: "model-reader");
