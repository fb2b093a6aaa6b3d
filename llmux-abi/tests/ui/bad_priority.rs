//! A priority that is not a number.
use llmux_abi::prelude::*;

struct Ordered;

impl Plugin for Ordered {
    type Config = NoConfig;

    fn new(_: NoConfig, _: Host) -> Result<Self> {
        Ok(Self)
    }
}

export_plugin!(Ordered, name: "ordered", priority: "high");

fn main() {}
