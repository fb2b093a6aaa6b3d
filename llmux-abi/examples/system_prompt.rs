//! Adds a system prompt to every request.
use llmux_abi::prelude::*;

/// The plugin, which is its own configuration.
#[derive(Deserialize, JsonSchema)]
pub struct SystemPrompt {
    prompt: String,
}

impl Plugin for SystemPrompt {
    type Config = Self;

    fn new(config: Self, _host: Host) -> Result<Self> {
        Ok(config)
    }

    async fn pre_hook(&self, _ctx: &mut Context<'_>, request: &mut Request<'_>) -> Result<Flow> {
        request.prepend_message("system", &self.prompt)?;
        Ok(Flow::Continue)
    }
}

export_plugin!(SystemPrompt, name: "system-prompt", priority: 50);
