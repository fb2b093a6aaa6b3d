//! The plugin of `system_prompt` in fewer lines: one struct is both plugin and configuration.
use llmux_abi::prelude::*;

/// The prompt to add.
#[derive(Deserialize, JsonSchema)]
pub struct Smallest {
    prompt: String,
}

impl Plugin for Smallest {
    type Config = Self;

    fn new(config: Self, _host: Host) -> Result<Self> {
        Ok(config)
    }

    async fn pre_hook(&self, _ctx: &mut Context<'_>, request: &mut Request<'_>) -> Result<Flow> {
        request.prepend_message("system", &self.prompt)?;
        Ok(Flow::Continue)
    }
}

export_plugin!(Smallest, name: "smallest", priority: 50);
