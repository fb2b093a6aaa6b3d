//! A plugin without a manifest that is compiled into a host.
use llmux_abi::prelude::*;

struct Bare;

impl Plugin for Bare {
    type Config = NoConfig;

    fn new(_: NoConfig, _: Host) -> Result<Self> {
        Ok(Self)
    }
}

fn main() {
    llmux_abi::host::compiled::<Bare>();
}
