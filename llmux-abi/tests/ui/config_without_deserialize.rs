//! A configuration that cannot be read.
use llmux_abi::prelude::*;

#[derive(JsonSchema)]
struct Config {
    prompt: String,
}

struct NotRead;

impl Plugin for NotRead {
    type Config = Config;

    fn new(config: Config, _: Host) -> Result<Self> {
        let _ = config.prompt;
        Ok(Self)
    }
}

fn main() {}
