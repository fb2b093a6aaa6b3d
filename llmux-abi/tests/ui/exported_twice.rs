//! One type exported twice.
use llmux_abi::prelude::*;

struct Twice;

impl Plugin for Twice {
    type Config = NoConfig;

    fn new(_: NoConfig, _: Host) -> Result<Self> {
        Ok(Self)
    }
}

export_plugin!(Twice, name: "once");
export_plugin!(Twice, name: "twice");

fn main() {}
