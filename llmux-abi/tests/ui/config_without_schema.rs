//! A configuration without a JSON Schema.
use llmux_abi::prelude::*;

#[derive(Deserialize)]
struct Config {
    prompt: String,
}

struct NoSchema;

impl Plugin for NoSchema {
    type Config = Config;

    fn new(config: Config, _: Host) -> Result<Self> {
        let _ = config.prompt;
        Ok(Self)
    }
}

fn main() {}
