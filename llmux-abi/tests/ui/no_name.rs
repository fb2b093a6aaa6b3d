//! A plugin without a name.
use llmux_abi::prelude::*;

struct Nameless;

impl Plugin for Nameless {
    type Config = NoConfig;

    fn new(_: NoConfig, _: Host) -> Result<Self> {
        Ok(Self)
    }
}

export_plugin!(Nameless);

fn main() {}
