//! Allows only the tool calls that the operator lists: names of tools, and values of their arguments. Fails closed.
//!
//! `config = { tools = { search = {}, deploy = { environment = ["staging", "test"] } } }`
use std::collections::BTreeMap;

use llmux_abi::prelude::*;
use serde_json::{Map, Value as Json};

/// The configuration.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The tools that may be called. Each has the arguments with a rule, and the values that they may have.
    tools: BTreeMap<String, BTreeMap<String, Vec<Json>>>,
    /// Whether a call that is not allowed is removed from the answer. Otherwise it ends the request with an error.
    #[serde(default)]
    remove: bool,
}

/// Allows only the tool calls that the operator lists.
pub struct ToolGuard {
    config: Config,
}

impl Plugin for ToolGuard {
    type Config = Config;

    fn new(config: Config, _: Host) -> Result<Self> {
        Ok(Self { config })
    }

    async fn on_tool_call(&self, ctx: &mut Context<'_>, call: &mut ToolCall<'_>) -> Result<ToolFlow> {
        if let Some(arguments) = self.allowed(call) {
            // JSON may have a name twice, and readers differ in the one that they take. What was checked is what is sent.
            call.set_arguments(&arguments)?;
            return Ok(ToolFlow::Continue);
        }
        warn!(request_id = ctx.request_id(), tool = call.name(), "a tool call is not allowed");
        if self.config.remove {
            return Ok(ToolFlow::Remove);
        }
        Ok(ToolFlow::End(Error::forbidden("the model called a tool in a way that is not allowed here")))
    }
}

impl ToolGuard {
    /// Returns the arguments of an allowed call. Arguments that are no JSON object are never allowed.
    fn allowed(&self, call: &ToolCall<'_>) -> Option<Map<String, Json>> {
        let rules = self.config.tools.get(call.name())?;
        let arguments: Map<String, Json> = call.arguments().ok()?;
        let fits = |(name, values): (&String, &Vec<Json>)| {
            arguments.get(name).is_some_and(|argument| values.contains(argument))
        };
        rules.iter().all(fits).then_some(arguments)
    }
}

export_plugin!(ToolGuard, name: "tool-guard", priority: 15, on_error: Some(OnError::Fail));
