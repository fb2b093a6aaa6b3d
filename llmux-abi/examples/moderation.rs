//! Sends the texts of a request to a moderation service while the provider is called, and refuses requests that it flags.
//!
//! The hook `beside` adds no time to an answer that takes longer than the service. Nothing of the answer is sent before the
//! verdict, and a refusal cancels the call of the provider.
//!
//! The service implements OpenAI's moderations API: it answers `{"input": [texts]}` with
//! `{"results": [{"flagged": …}]}`. The plugin is a guard (`on_error` in its manifest): a request fails if the service
//! cannot be reached, exceeds its timeout, or sends an invalid answer. If a broken guard passed all requests, an
//! attacker could bypass it by breaking it.
//!
//! `config = { url = "https://api.openai.com/v1/moderations", api_key = "…", timeout_ms = 2000 }`
use std::time::Duration;

use llmux_abi::{Counter, prelude::*};

/// The configuration.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// URL of the moderation service.
    url: String,
    /// API key of the service, sent as a bearer token.
    api_key: Option<String>,
    /// Timeout of a call to the service, in milliseconds.
    #[serde(default = "two_seconds")]
    timeout_ms: u64,
}

fn two_seconds() -> u64 {
    2000
}

#[derive(Deserialize)]
struct Judgment {
    results: Vec<TextJudgment>,
}

#[derive(Deserialize)]
struct TextJudgment {
    flagged: bool,
}

/// The plugin, with its configuration and its counter of refused requests.
pub struct Moderation {
    config: Config,
    host: Host,
    flagged: Counter,
}

impl Plugin for Moderation {
    type Config = Config;

    fn new(config: Config, host: Host) -> Result<Self> {
        let flagged = host.counter("moderation_flagged_total", "Requests that were refused", &[])?;
        Ok(Self { config, host, flagged })
    }

    // Plain requests and streams alike.
    async fn beside(&self, ctx: &mut Context<'_>, request: &Request<'_>) -> Result<Verdict> {
        let texts = texts(request);
        if texts.is_empty() || !self.is_flagged(&texts).await? {
            return Ok(Verdict::Allow);
        }
        self.flagged.increment(&[]);
        info!(request_id = ctx.request_id(), "refused");
        let error = Error::invalid_request("the request was refused by a content policy");
        // No fallback follows: it would send the same texts to another model.
        Ok(Verdict::refuse(error.with_code("content_policy_violation")))
    }
}

impl Moderation {
    async fn is_flagged(&self, texts: &[String]) -> Result<bool> {
        let body = serde_json::json!({ "input": texts });
        let mut request = HttpRequest::post_json(&self.config.url, &body)?
            .with_timeout(Duration::from_millis(self.config.timeout_ms));
        if let Some(key) = &self.config.api_key {
            request = request.with_header("authorization", format!("Bearer {key}"));
        }
        let response = self.host.http(request).await?;
        if !response.is_success() {
            return Err(Error::new(format!("the moderation service answered {}", response.status())));
        }
        let judgment: Judgment = response.json()?;
        if judgment.results.is_empty() {
            return Err(Error::new("the moderation service answered without a result"));
        }
        Ok(judgment.results.iter().any(|result| result.flagged))
    }
}

/// Returns all texts of a request. Includes every message, since an earlier one may contain the text to flag.
fn texts(request: &Request<'_>) -> Vec<String> {
    let messages = request.messages().map(|message| message.text());
    // Other endpoints have a text, or a list of texts and parts. The JSON of the member contains all of them.
    let others = ["/input", "/prompt", "/instructions"];
    let others = others.iter().filter_map(|place| Some(request.text(place)?.to_owned()));
    messages.chain(others).filter(|text| !text.is_empty()).collect()
}

export_plugin!(Moderation, name: "moderation", priority: 10, on_error: Some(OnError::Fail));
