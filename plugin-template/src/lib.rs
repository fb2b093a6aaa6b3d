//! {{description}}
use llmux_abi::prelude::*;

/// The configuration. The host checks it against the schema of this type.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Text that is added to the end of every answer.
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

    // Called for each text of a request and of an answer. The text of a stream comes in pieces.
    async fn on_text(&self, _ctx: &mut Context<'_>, text: &mut Text<'_>) -> Result<TextFlow> {
        if text.side() == Side::Answer && text.channel() == Channel::Content && text.is_end() {
            text.set(format!("{text} {}", self.config.signature));
        }
        Ok(TextFlow::Continue)
    }
}

export_plugin!({{crate_name | upper_camel_case}}, name: "{{project-name}}", priority: 100);
