//! Two plugins in one crate: a library holds one.
use llmux_abi::prelude::*;

struct One;

impl Plugin for One {
    type Config = NoConfig;

    fn new(_: NoConfig, _: Host) -> Result<Self> {
        Ok(Self)
    }
}

struct Two;

impl Plugin for Two {
    type Config = NoConfig;

    fn new(_: NoConfig, _: Host) -> Result<Self> {
        Ok(Self)
    }
}

export_plugin!(One, name: "one");
export_plugin!(Two, name: "two");

fn main() {}
