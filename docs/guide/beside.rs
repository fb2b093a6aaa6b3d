//! Code of `beside.md`: guards that run while the provider is called. Compiled and run by `llmux-abi/example-tests`.

use llmux_abi::prelude::*;
use llmux_core::PluginSpec;
use llmux_testing::{Harness, ScriptedResponse, ScriptedServer, harness::MODEL};
use serde_json::json;

/// Asks a service for a score of the last message.
struct Scores {
    config: Config,
    host: Host,
}

#[derive(Deserialize, JsonSchema)]
struct Config {
    url: String,
}

impl Plugin for Scores {
    type Config = Config;

    fn new(config: Config, host: Host) -> Result<Self> {
        Ok(Self { config, host })
    }

    async fn beside(&self, ctx: &mut Context<'_>, request: &Request<'_>) -> Result<Verdict> {
        let text = request.last_user_text().unwrap_or_default();
        let question = HttpRequest::post_json(&self.config.url, &json!({ "text": text }))?;
        let score: f64 = self.host.http(question).await?.json()?;
        ctx.set_response_header("x-score", &score.to_string())?;
        if score > 0.9 {
            return Ok(Verdict::refuse(Error::forbidden("the message is not allowed")));
        }
        Ok(Verdict::Allow)
    }
}

/// Keeps private data from the models of others.
struct AtHome;

impl Plugin for AtHome {
    type Config = NoConfig;

    fn new(_: NoConfig, _: Host) -> Result<Self> {
        Ok(Self)
    }

    async fn beside(&self, _: &mut Context<'_>, request: &Request<'_>) -> Result<Verdict> {
        if request.model().starts_with("own-") || !self.is_private(request).await? {
            return Ok(Verdict::Allow);
        }
        let error = Error::forbidden("private data stays with our own models");
        Ok(Verdict::refuse(error).with_allow_fallback(true))
    }
}

impl AtHome {
    async fn is_private(&self, request: &Request<'_>) -> Result<bool> {
        Ok(request.last_user_text().is_some_and(|text| text.contains("my address")))
    }
}

#[tokio::test]
async fn a_message_with_a_high_score_is_refused_while_the_provider_is_called() {
    let scores = ["0.2", "0.95", "0.95"].map(|score| ScriptedResponse::json(200, score));
    let service = ScriptedServer::start(scores).await;
    let spec = PluginSpec::of::<Scores>("scores").with_config(json!({"url": service.base_url()}));
    let harness = Harness::builder().spec(spec).build().await;
    harness.chat("good").await.assert_text("good").assert_header("x-score", "0.2");
    harness.hang();
    let reply = harness.chat("bad").await;
    reply.assert_rejected(403).assert_header("x-score", "0.95");
    let reply = harness.chat_stream("bad").await;
    reply.assert_rejected(403);
    assert_eq!(reply.text(), "");
}

#[tokio::test]
async fn private_data_falls_back_to_a_model_of_ours() {
    let harness =
        Harness::builder().models(["own-model"]).spec(PluginSpec::of::<AtHome>("at-home")).build().await;
    let ask = |text: &str| Harness::request(text).with_fallbacks(["own-model"]);
    harness.send(ask("Hi")).await.assert_text("Hi");
    harness.assert_sent("/model", MODEL);
    harness.send(ask("This is my address")).await.assert_text("This is my address");
    harness.assert_sent("/model", "own-model");
}
