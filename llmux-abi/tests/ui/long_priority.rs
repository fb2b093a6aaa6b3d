//! A priority outside the range of `i32`.
use llmux_abi::prelude::*;

struct Ordered;

impl Plugin for Ordered {
    type Config = NoConfig;

    fn new(_: NoConfig, _: Host) -> Result<Self> {
        Ok(Self)
    }
}

export_plugin!(Ordered, name: "ordered", priority: 5_000_000_000);

fn main() {}
