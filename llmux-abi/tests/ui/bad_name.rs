//! A plugin's name that is not valid.
use llmux_abi::prelude::*;

struct Named;

impl Plugin for Named {
    type Config = NoConfig;

    fn new(_: NoConfig, _: Host) -> Result<Self> {
        Ok(Self)
    }
}

export_plugin!(Named, name: "My Plugin");

fn main() {}
