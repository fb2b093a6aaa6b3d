//! Asks a moderation service before the provider is asked, and refuses what it flags.
//!
//! The service speaks the shape of OpenAI's moderations: `{"input": [texts]}` is answered by
//! `{"results": [{"flagged": …}]}`. A guard: its manifest says that a request fails if the service cannot be
//! reached, is late, or makes no sense (`on_error`), since a guard that lets everything through when it breaks
//! invites to break it.
//!
//! `config = { url = "https://api.openai.com/v1/moderations", api_key = "…", timeout_ms = 2000 }`
use std::time::Duration;

use llmux_abi::{Counter, prelude::*};

/// Its configuration.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Where texts are sent.
    url: String,
    /// The service's key, sent as a bearer token.
    api_key: Option<String>,
    /// How long to wait for its answer, in milliseconds.
    #[serde(default = "two_seconds")]
    timeout_ms: u64,
}

fn two_seconds() -> u64 {
    2000
}

#[derive(Deserialize)]
struct Verdict {
    results: Vec<TextVerdict>,
}

#[derive(Deserialize)]
struct TextVerdict {
    flagged: bool,
}

/// Asks a moderation service first.
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

    // Streams too: `pre_stream_hook` calls this one unless a plugin writes its own.
    async fn pre_hook(&self, ctx: &mut Context<'_>, request: &mut Request<'_>) -> Result<Flow> {
        let texts = texts(request);
        if texts.is_empty() || !self.is_flagged(&texts).await? {
            return Ok(Flow::Continue);
        }
        self.flagged.increment(&[]);
        info!(request_id = ctx.request_id(), "refused");
        let error = Error::invalid_request("the request was refused by a content policy");
        // Another model would be asked the same.
        Ok(ShortCircuit::reject(error.with_code("content_policy_violation"))
            .with_allow_fallback(false)
            .into())
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
        let verdict: Verdict = response.json()?;
        if verdict.results.is_empty() {
            return Err(Error::new("the moderation service answered without a result"));
        }
        Ok(verdict.results.iter().any(|result| result.flagged))
    }
}

/// Everything that somebody wrote: every message, not only the last, which may hide behind it.
fn texts(request: &Request<'_>) -> Vec<String> {
    let messages = request.messages().map(|message| message.text());
    // Elsewhere a text, or a list of texts and parts: as JSON it is all there.
    let others = ["/input", "/prompt", "/instructions"];
    let others = others.iter().filter_map(|place| Some(request.text(place)?.to_owned()));
    messages.chain(others).filter(|text| !text.is_empty()).collect()
}

export_plugin!(Moderation, name: "moderation", priority: 10, on_error: Some(OnError::Fail));
