//! An attribute with a value of another type. `on_error` is an `Option`, since it may be left to the host.
use llmux_abi::prelude::*;

struct Guard;

impl Plugin for Guard {
    type Config = NoConfig;

    fn new(_: NoConfig, _: Host) -> Result<Self> {
        Ok(Self)
    }
}

export_plugin!(Guard, name: "guard", on_error: OnError::Fail);

fn main() {}
