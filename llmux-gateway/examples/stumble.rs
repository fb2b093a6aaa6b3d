//! A plugin that fails as its configuration says, and uses every way in which a plugin can report: for tests of what a
//! host shows of a plugin.
use llmux_abi::{Counter, prelude::*};

#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum How {
    Panic,
    Error,
    Wait,
    Abort,
    Refuse,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Config {
    how: Option<How>,
    /// A response header to set.
    header: Option<String>,
}

struct Stumble {
    how: Option<How>,
    header: Option<String>,
    host: Host,
    seen: Counter,
}

impl Plugin for Stumble {
    type Config = Config;

    fn new(config: Config, host: Host) -> Result<Self> {
        info!("made");
        let seen = host.counter("stumble_seen_total", "Requests seen", &["endpoint"])?;
        Ok(Self { how: config.how, header: config.header, host, seen })
    }

    async fn pre_hook(&self, ctx: &mut Context<'_>, request: &mut Request<'_>) -> Result<Flow> {
        self.seen.increment(&[ctx.endpoint()]);
        warn!(model = request.model(), "about to act");
        ctx.set("step", 1)?;
        ctx.set_response_header("x-stumble", "yes")?;
        request.set("/stumbled", true)?;
        if let Some(header) = &self.header {
            ctx.set_response_header(header, "of-the-plugin")?;
        }
        match self.how {
            Some(How::Panic) => panic!("tripped over a wire"),
            Some(How::Abort) => std::process::abort(),
            Some(How::Error) => Err(Error::new("stubbed a toe")),
            Some(How::Wait) => {
                self.host.sleep(std::time::Duration::from_secs(3600)).await;
                Ok(Flow::Continue)
            }
            Some(How::Refuse) => {
                let refused = ShortCircuit::reject(Error::rate_limited("too fast").with_retry_after(1.5));
                Ok(refused.with_metadata("bucket", "empty").into())
            }
            None => Ok(Flow::Continue),
        }
    }

    async fn on_stream_chunk(&self, _ctx: &mut Context<'_>, chunk: &mut Chunk<'_>) -> Result<ChunkFlow> {
        match chunk.delta() {
            Some("swallow ") => Ok(ChunkFlow::Drop),
            Some(text) if !text.is_empty() => {
                let louder = text.to_uppercase();
                chunk.set_delta(&louder)?;
                Ok(ChunkFlow::Forward)
            }
            _ => Ok(ChunkFlow::Forward),
        }
    }
}

export_plugin!(Stumble, name: "stumble");
