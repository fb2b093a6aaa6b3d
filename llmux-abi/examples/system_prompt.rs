//! Adds a system prompt to every request.
use llmux_abi::prelude::*;

#[derive(Deserialize, JsonSchema)]
struct Config {
    prompt: String,
}

struct SystemPrompt {
    prompt: String,
}

impl Plugin for SystemPrompt {
    type Config = Config;

    fn new(config: Config, _host: Host) -> Result<Self> {
        Ok(Self { prompt: config.prompt })
    }

    async fn pre_hook(&self, _ctx: &mut Context<'_>, request: &mut Request<'_>) -> Result<Flow> {
        request.prepend_message("system", &self.prompt)?;
        Ok(Flow::Continue)
    }
}

export_plugin!(SystemPrompt, name: "system-prompt", priority: 50);
