//! Code of `tool_calls.md`: guards for tool calls. Compiled and run by `llmux-abi/example-tests`.

use llmux_abi::prelude::*;
use llmux_core::PluginSpec;
use llmux_testing::Harness;
use serde_json::{Value, json};

/// Allows some tools, removes the calls of one, and refuses all others.
struct Files;

impl Plugin for Files {
    type Config = NoConfig;

    fn new(_: NoConfig, _: Host) -> Result<Self> {
        Ok(Self)
    }

    async fn on_tool_call(&self, _: &mut Context<'_>, call: &mut ToolCall<'_>) -> Result<ToolFlow> {
        match call.name() {
            "read_file" | "list_files" => Ok(ToolFlow::Continue),
            "delete_file" => Ok(ToolFlow::Remove),
            _ => Ok(ToolFlow::End(Error::forbidden("this tool may not be called here"))),
        }
    }
}

/// Bounds an argument.
struct Bounded;

#[derive(Deserialize, Serialize)]
struct Query {
    table: String,
    limit: u32,
}

impl Plugin for Bounded {
    type Config = NoConfig;

    fn new(_: NoConfig, _: Host) -> Result<Self> {
        Ok(Self)
    }

    async fn on_tool_call(&self, _: &mut Context<'_>, call: &mut ToolCall<'_>) -> Result<ToolFlow> {
        if call.name() != "query" {
            return Ok(ToolFlow::Continue);
        }
        let Ok(mut query) = call.arguments::<Query>() else { return Ok(ToolFlow::Remove) };
        query.limit = query.limit.min(100);
        call.set_arguments(&query)?;
        Ok(ToolFlow::Continue)
    }
}

/// An answer that calls these tools without arguments.
fn calls(names: &[&str]) -> Value {
    let call =
        |name: &&str| json!({"id": name, "type": "function", "function": {"name": name, "arguments": "{}"}});
    let calls: Vec<Value> = names.iter().map(call).collect();
    let message = json!({"role": "assistant", "content": null, "tool_calls": calls});
    json!({"choices": [{"index": 0, "message": message, "finish_reason": "tool_calls"}]})
}

#[tokio::test]
async fn tools_are_allowed_removed_and_refused() {
    let harness = Harness::builder().spec(PluginSpec::of::<Files>("files")).build().await;
    let answer = calls(&["delete_file", "read_file"]);
    harness.respond(answer.clone()).respond(answer);
    for reply in [harness.chat("Hi").await, harness.chat_stream("Hi").await] {
        reply.assert_ok();
        assert_eq!(reply.body()["choices"], calls(&["read_file"])["choices"]);
    }
    harness.respond(calls(&["shell"])).respond(calls(&["shell"]));
    harness.chat("Hi").await.assert_rejected(403);
    harness.chat_stream("Hi").await.assert_rejected(403);
}

#[tokio::test]
async fn an_argument_is_bounded() {
    let harness = Harness::builder().spec(PluginSpec::of::<Bounded>("bounded")).build().await;
    let part = |delta: Value| json!({"choices": [{"index": 0, "delta": delta}]});
    let call = |call: Value| part(json!({"tool_calls": [call]}));
    let begin = json!({"name": "query", "arguments": "{\"table\":\"users\","});
    let end = json!({"arguments": "\"limit\":9000}"});
    harness.stream(vec![
        part(json!({"content": "I look."})),
        call(json!({"index": 0, "id": "a", "function": begin})),
        call(json!({"index": 0, "function": end})),
        json!({"choices": [{"index": 0, "delta": {}, "finish_reason": "tool_calls"}]}),
    ]);
    let reply = harness.chat_stream("Hi").await;
    let call = &reply.assert_text("I look.").body()["choices"][0]["message"]["tool_calls"][0];
    assert_eq!(call["function"]["arguments"], "{\"table\":\"users\",\"limit\":100}");
}
