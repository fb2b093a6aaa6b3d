//! An attribute that a manifest does not have, and one of another type.
use llmux_abi::prelude::*;

struct Ordered;

impl Plugin for Ordered {
    type Config = NoConfig;

    fn new(_: NoConfig, _: Host) -> Result<Self> {
        Ok(Self)
    }
}

export_plugin!(Ordered, name: "ordered", order: 5);

struct Guard;

impl Plugin for Guard {
    type Config = NoConfig;

    fn new(_: NoConfig, _: Host) -> Result<Self> {
        Ok(Self)
    }
}

export_plugin!(Guard, name: "guard", on_error: OnError::Fail);

fn main() {}
