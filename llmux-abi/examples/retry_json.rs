//! Replaces a response that is not the requested JSON by an error that states the reason.
//!
//! Fallbacks and clients retry after an error, but not after an invalid response with status 200. The plugin acts if
//! the request has a `response_format` of `json_object` or `json_schema`. Of a schema, it checks `required` of the
//! top level. It removes a Markdown fence around the JSON. The text of a stream has reached the client already, so a
//! stream ends with the error instead of its last chunk.
//!
//! Needs no configuration but `[[plugin]] name = "retry-json"`.
use llmux_abi::prelude::*;
use serde_json::Value as Json;

/// The plugin, which has no state of its own.
pub struct RetryJson;

/// State of one request: the requested format, and the text of a stream so far.
#[derive(Default)]
struct Asked {
    format: Json,
    text: String,
}

impl Plugin for RetryJson {
    type Config = NoConfig;

    fn new(_: NoConfig, _: Host) -> Result<Self> {
        Ok(Self)
    }

    async fn pre_hook(&self, ctx: &mut Context<'_>, request: &mut Request<'_>) -> Result<Flow> {
        let format = request.get("/response_format").unwrap_or_default();
        *ctx.state::<Asked>() = Asked { format, text: String::new() };
        Ok(Flow::Continue)
    }

    async fn post_hook(&self, ctx: &mut Context<'_>, outcome: &mut Outcome<'_>) -> Result<()> {
        let asked = ctx.state::<Asked>();
        let Some(mut response) = outcome.response() else { return Ok(()) };
        // A refusal and tool calls have no text.
        let Some(text) = response.content().filter(|_| asked.wants_json()) else { return Ok(()) };
        let bare = unfenced(text);
        match asked.check(bare) {
            Ok(()) if bare == text => Ok(()),
            Ok(()) => {
                let bare = bare.to_owned();
                response.set_content(&bare)
            }
            Err(why) => {
                let cut = response.finish_reason() == Some("length");
                outcome.fail(error(&why, cut))
            }
        }
    }

    async fn on_stream_chunk(&self, ctx: &mut Context<'_>, chunk: &mut Chunk<'_>) -> Result<ChunkFlow> {
        let asked = ctx.state::<Asked>();
        // Only the first choice is checked.
        if !asked.wants_json() || chunk.get("/choices/0/index").is_some_and(|index: u64| index > 0) {
            return Ok(ChunkFlow::Forward);
        }
        asked.text += chunk.delta().unwrap_or_default();
        let Some(reason) = chunk.finish_reason() else { return Ok(ChunkFlow::Forward) };
        match asked.check(&asked.text) {
            Err(why) if !asked.text.is_empty() => Ok(ChunkFlow::End(error(&why, reason == "length"))),
            _ => Ok(ChunkFlow::Forward),
        }
    }
}

impl Asked {
    fn wants_json(&self) -> bool {
        matches!(self.format["type"].as_str(), Some("json_object" | "json_schema"))
    }

    fn check(&self, text: &str) -> Result<(), String> {
        let answer: Json = serde_json::from_str(text).map_err(|error| format!("it is not JSON: {error}"))?;
        let schema = &self.format["json_schema"]["schema"];
        if !answer.is_object() && (schema.is_null() || schema["type"] == "object") {
            return Err("it is JSON, but not an object".to_owned());
        }
        let required = schema["required"].as_array().into_iter().flatten().filter_map(Json::as_str);
        match required.into_iter().find(|name| answer.get(name).is_none()) {
            Some(name) => Err(format!("the member `{name}` is missing")),
            None => Ok(()),
        }
    }
}

/// Returns the text inside of a Markdown fence, or the whole text if there is no fence.
fn unfenced(text: &str) -> &str {
    let inside = text.trim().strip_prefix("```").and_then(|text| text.strip_suffix("```"));
    inside.map_or(text, |inside| inside.strip_prefix("json").unwrap_or(inside).trim())
}

fn error(why: &str, cut: bool) -> Error {
    let cut = if cut { "; it was cut off at its token limit" } else { "" };
    let error = Error::new(format!("the model did not answer with the JSON asked for: {why}{cut}"));
    error.with_status(502).with_type("invalid_answer").with_code("not_the_json_asked_for")
}

export_plugin!(RetryJson, name: "retry-json", priority: 200);
