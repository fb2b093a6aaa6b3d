//! A hook whose future cannot move between threads.
use std::rc::Rc;

use llmux_abi::prelude::*;

struct NotSend {
    host: Host,
}

impl Plugin for NotSend {
    type Config = NoConfig;

    fn new(_: NoConfig, host: Host) -> Result<Self> {
        Ok(Self { host })
    }

    async fn pre_hook(&self, _: &mut Context<'_>, _: &mut Request<'_>) -> Result<Flow> {
        let count = Rc::new(1);
        self.host.sleep(std::time::Duration::from_secs(*count)).await;
        Ok(Flow::Continue)
    }
}

fn main() {}
