//! An implementation without `new` and `Config`.
use llmux_abi::prelude::*;

struct Unborn;

impl Plugin for Unborn {
    async fn pre_hook(&self, _: &mut Context<'_>, _: &mut Request<'_>) -> Result<Flow> {
        Ok(Flow::Continue)
    }
}

export_plugin!(Unborn, name: "unborn");

fn main() {}
