//! Does nothing: what the crossing itself costs is measured with it.
//! Nothing to configure.
use llmux_abi::prelude::*;

struct Noop;

impl Plugin for Noop {
    type Config = NoConfig;

    fn new(_: NoConfig, _: Host) -> Result<Self> {
        Ok(Self)
    }
}

export_plugin!(Noop, name: "noop");
