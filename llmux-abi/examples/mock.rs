//! Answers from a file instead of the provider, plain and streaming: for demos, for tests of applications, and
//! for days without a network.
//!
//! The file is a list of rules (`mock.json` is one); the first whose `contains` is in the last user message
//! answers. What no rule knows goes on to the provider.
//!
//! `config = { file = "/etc/llmux/mock.json" }`
use std::path::PathBuf;

use llmux_abi::{prelude::*, types::text_chunk};
use serde_json::Value as Json;

/// Its configuration.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The file with the rules.
    file: PathBuf,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Rule {
    /// What the last user message contains; everything matches the empty text.
    #[serde(default)]
    contains: String,
    #[serde(flatten)]
    answer: Answer,
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum Answer {
    /// A text; a stream gets it word by word.
    Text(String),
    /// A whole response; a stream gets it as chunks.
    Response(Json),
    /// An error: `{"status": 503, "message": "down"}`.
    Error { status: u16, message: String },
}

/// Answers from a file.
pub struct Mock {
    rules: Vec<Rule>,
}

impl Plugin for Mock {
    type Config = Config;

    fn new(config: Config, _host: Host) -> Result<Self> {
        // Off the request path: here a plugin may block.
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
    /// The first rule that matches: its place in the file, from 0, and its answer.
    fn answer(&self, request: &Request<'_>) -> Option<(u32, &Answer)> {
        let asked = request.last_user_text().unwrap_or_default();
        let (at, rule) = self.rules.iter().enumerate().find(|(_, rule)| asked.contains(&rule.contains))?;
        Some((at as u32, &rule.answer))
    }
}

export_plugin!(Mock, name: "mock", priority: 15);
