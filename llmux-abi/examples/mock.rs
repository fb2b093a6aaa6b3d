//! Answers from a file instead of the provider, plain and streaming. For demos, tests of applications, and work without
//! a network.
//!
//! The file is a list of rules (`mock.json` is an example). The first rule whose `contains` occurs in the last user
//! message answers. A request that no rule matches goes to the provider.
//!
//! `config = { file = "/etc/llmux/mock.json" }`
use std::path::PathBuf;

use llmux_abi::{prelude::*, types::text_chunk};
use serde_json::Value as Json;

/// The configuration.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Path of the file with the rules.
    file: PathBuf,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Rule {
    /// Text that the last user message must contain. An empty text matches every request.
    #[serde(default)]
    contains: String,
    #[serde(flatten)]
    answer: Answer,
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum Answer {
    /// A text. A stream sends it word by word.
    Text(String),
    /// A whole response. A stream sends it as chunks.
    Response(Json),
    /// An error: `{"status": 503, "message": "down"}`.
    Error { status: u16, message: String },
}

/// The plugin, with the rules of its file.
pub struct Mock {
    rules: Vec<Rule>,
}

impl Plugin for Mock {
    type Config = Config;

    fn new(config: Config, _host: Host) -> Result<Self> {
        // `new` runs outside of requests and may block.
        let path = config.file.display();
        let text =
            std::fs::read_to_string(&config.file).map_err(|error| Error::new(format!("{path}: {error}")))?;
        let rules = serde_json::from_str(&text).map_err(|error| Error::new(format!("{path}: {error}")))?;
        Ok(Self { rules })
    }

    async fn pre_hook(&self, _ctx: &mut Context<'_>, request: &mut Request<'_>) -> Result<Flow> {
        let Some((at, answer)) = self.answer(request) else { return Ok(Flow::Continue) };
        let short_circuit = match answer {
            Answer::Text(text) => ShortCircuit::respond(Response::text(text).with_model(request.model())),
            Answer::Response(response) => ShortCircuit::respond(response),
            Answer::Error { status, message } => {
                ShortCircuit::reject(Error::new(message).with_status(*status).with_type("mock_error"))
            }
        };
        Ok(short_circuit.with_metadata("mock_rule", at).into())
    }

    async fn pre_stream_hook(&self, ctx: &mut Context<'_>, request: &mut Request<'_>) -> Result<StreamFlow> {
        match self.answer(request) {
            Some((at, Answer::Text(text))) if ctx.endpoint() == "chat/completions" => {
                let mut chunks: Vec<_> = text.split_inclusive(' ').map(text_chunk).collect();
                let mut last = text_chunk("");
                last["choices"][0]["finish_reason"] = "stop".into();
                chunks.push(last);
                for chunk in &mut chunks {
                    chunk["model"] = request.model().into();
                }
                Ok(Streamed::chunks(chunks).with_metadata("mock_rule", at).into())
            }
            _ => Ok(self.pre_hook(ctx, request).await?.into()),
        }
    }
}

impl Mock {
    /// Returns the first rule that matches: its position in the file, from 0, and its answer.
    fn answer(&self, request: &Request<'_>) -> Option<(u32, &Answer)> {
        let asked = request.last_user_text().unwrap_or_default();
        let (at, rule) = self.rules.iter().enumerate().find(|(_, rule)| asked.contains(&rule.contains))?;
        Some((at as u32, &rule.answer))
    }
}

export_plugin!(Mock, name: "mock", priority: 15);
