//! Plugins around the built-in ones, such as an operator would write.

use std::time::Duration;

use llmux_abi::prelude::*;
use llmux_core::PluginSpec;

/// Copies the request header `x-seat` into the context, like a plugin that knows the seat of each user.
pub(crate) struct Seats;

impl Plugin for Seats {
    type Config = NoConfig;

    fn new(_: NoConfig, _: Host) -> Result<Self> {
        Ok(Self)
    }

    async fn pre_hook(&self, ctx: &mut Context<'_>, _: &mut Request<'_>) -> Result<Flow> {
        if let Some(seat) = ctx.header("x-seat").map(str::to_owned) {
            ctx.set("seat", seat)?;
        }
        Ok(Flow::Continue)
    }
}

/// Returns the seats plugin: first among pre hooks, last among post hooks.
pub(crate) fn seats() -> PluginSpec {
    PluginSpec::of::<Seats>("seats").with_priority(1)
}

/// Turns every answer into an error, in a post hook that runs after the built-in plugins.
pub(crate) struct Censor;

impl Plugin for Censor {
    type Config = NoConfig;

    fn new(_: NoConfig, _: Host) -> Result<Self> {
        Ok(Self)
    }

    async fn post_hook(&self, _: &mut Context<'_>, outcome: &mut Outcome<'_>) -> Result<()> {
        outcome.fail(Error::forbidden("not that"))
    }

    async fn on_stream_chunk(&self, _: &mut Context<'_>, chunk: &mut Chunk<'_>) -> Result<ChunkFlow> {
        match chunk.finish_reason() {
            Some(_) => Ok(ChunkFlow::End(Error::forbidden("not that"))),
            None => Ok(ChunkFlow::Forward),
        }
    }
}

/// Returns the censor, whose post hook runs after the built-in plugins.
pub(crate) fn censor() -> PluginSpec {
    PluginSpec::of::<Censor>("censor").with_priority(1)
}

/// Takes a while in `on_complete`, before the built-in plugins have their turn.
pub(crate) struct SlowEnd {
    host: Host,
    takes: Duration,
}

impl Plugin for SlowEnd {
    type Config = NoConfig;

    fn new(_: NoConfig, host: Host) -> Result<Self> {
        Ok(Self { host, takes: Duration::ZERO })
    }

    async fn on_complete(&self, _: &mut Context<'_>, _: &Completion<'_>) {
        self.host.sleep(self.takes).await;
    }
}

/// Returns a plugin whose `on_complete` takes this long.
pub(crate) fn slow_end(takes: Duration) -> PluginSpec {
    PluginSpec::by_hand("slow-end", move |host| Ok(SlowEnd { host, takes })).with_priority(2_000)
}
