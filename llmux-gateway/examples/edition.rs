//! A plugin that names the edition of it that ran, for tests of reloads: the first hook of a request sets its edition in
//! the context, and each later hook writes its own edition and the first one's into the document. A request in which two
//! editions ran would show two names.
//!
//! The tests and `reloads` make another edition of the same build: they replace the marker in a copy of the library.
use llmux_abi::prelude::*;

/// Marker of this edition. Another edition has another marker of the same length.
static EDITION: &str = "llmux-edition-marker-one";

struct Edition;

impl Plugin for Edition {
    type Config = NoConfig;

    fn new(_config: NoConfig, _host: Host) -> Result<Self> {
        Ok(Self)
    }

    async fn pre_hook(&self, ctx: &mut Context<'_>, _request: &mut Request<'_>) -> Result<Flow> {
        ctx.set("edition", EDITION)?;
        ctx.set_response_header("x-edition", EDITION)?;
        Ok(Flow::Continue)
    }

    async fn post_hook(&self, ctx: &mut Context<'_>, outcome: &mut Outcome<'_>) -> Result<()> {
        if let Some(mut response) = outcome.response() {
            response.set("/edition", EDITION)?;
            response.set("/began_with", ctx.get_str("edition").unwrap_or("nothing"))?;
        }
        Ok(())
    }

    async fn on_stream_chunk(&self, ctx: &mut Context<'_>, chunk: &mut Chunk<'_>) -> Result<ChunkFlow> {
        chunk.set("/edition", EDITION)?;
        chunk.set("/began_with", ctx.get_str("edition").unwrap_or("nothing"))?;
        Ok(ChunkFlow::Forward)
    }
}

export_plugin!(Edition, name: "edition");
