//! A lock that is held across an `.await`: the most common cause of a future that is not `Send`.
use std::sync::Mutex;

use llmux_abi::prelude::*;

struct Counts {
    host: Host,
    seen: Mutex<u64>,
}

impl Plugin for Counts {
    type Config = NoConfig;

    fn new(_: NoConfig, host: Host) -> Result<Self> {
        Ok(Self { host, seen: Mutex::default() })
    }

    async fn pre_hook(&self, _: &mut Context<'_>, _: &mut Request<'_>) -> Result<Flow> {
        let mut seen = self.seen.lock().unwrap();
        self.host.sleep(std::time::Duration::from_secs(1)).await;
        *seen += 1;
        Ok(Flow::Continue)
    }
}

fn main() {}
