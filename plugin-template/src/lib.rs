//! {{description}}
use llmux_abi::prelude::*;

/// What the operator may set; the host checks it against the schema.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// What is put behind every answer.
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
        // Embeddings have no text, calls of tools neither.
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
