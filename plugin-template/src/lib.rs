//! {{description}}
use llmux_abi::prelude::*;

/// The configuration. The host checks it against the schema of this type.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Text that is added to the end of every response.
    #[serde(default = "signature")]
    signature: String,
}

fn signature() -> String {
    "(signed by {{project-name}})".to_owned()
}

pub struct {{crate_name | upper_camel_case}} {
    config: Config,
}

impl Plugin for {{crate_name | upper_camel_case}} {
    type Config = Config;

    fn new(config: Config, _host: Host) -> Result<Self> {
        Ok(Self { config })
    }

    async fn post_hook(&self, _ctx: &mut Context<'_>, outcome: &mut Outcome<'_>) -> Result<()> {
        // Embeddings and tool calls have no text.
        if let Some(mut response) = outcome.response()
            && let Some(content) = response.content()
        {
            let signed = format!("{content} {}", self.config.signature);
            response.set_content(&signed)?;
        }
        Ok(())
    }
}

export_plugin!({{crate_name | upper_camel_case}}, name: "{{project-name}}", priority: 100);
