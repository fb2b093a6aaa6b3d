//! Two plugins in two modules of one crate: a library holds one.
mod one {
    use llmux_abi::prelude::*;

    pub struct One;

    impl Plugin for One {
        type Config = NoConfig;

        fn new(_: NoConfig, _: Host) -> Result<Self> {
            Ok(Self)
        }
    }

    export_plugin!(One, name: "one");
}

mod two {
    use llmux_abi::prelude::*;

    pub struct Two;

    impl Plugin for Two {
        type Config = NoConfig;

        fn new(_: NoConfig, _: Host) -> Result<Self> {
            Ok(Self)
        }
    }

    export_plugin!(Two, name: "two");
}

fn main() {}
