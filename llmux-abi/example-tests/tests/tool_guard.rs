//! `tool_guard`: only listed tools with listed arguments reach the client, plain and streamed.

use llmux_testing::{Harness, build::example};
use serde_json::{Value, json};

#[path = "../../examples/tool_guard.rs"]
pub mod tool_guard;

use tool_guard::ToolGuard;

/// An answer with these calls.
fn answer(calls: &[(&str, &str)]) -> Value {
    let call = |(name, arguments): &(&str, &str)| json!({"id": name, "type": "function", "function": {"name": name, "arguments": arguments}});
    let calls: Vec<Value> = calls.iter().map(call).collect();
    let message = json!({"role": "assistant", "content": null, "tool_calls": calls});
    json!({"choices": [{"index": 0, "message": message, "finish_reason": "tool_calls"}]})
}

fn config(remove: bool) -> Value {
    json!({"tools": {"search": {}, "deploy": {"environment": ["staging", "test"]}}, "remove": remove})
}

/// The names and the arguments of the calls that the client received.
fn calls(body: &Value) -> Vec<(&str, &str)> {
    let mut found = Vec::new();
    for call in body["choices"][0]["message"]["tool_calls"].as_array().into_iter().flatten() {
        let text = |member: &str| call["function"][member].as_str().expect("a text");
        found.push((text("name"), text("arguments")));
    }
    found
}

async fn guards(harness: Harness) {
    let allowed = answer(&[("search", "{\"q\":\"llmux\"}"), ("deploy", "{\"environment\":\"test\"}")]);
    harness.respond(allowed.clone()).respond(allowed);
    let expected = [("search", "{\"q\":\"llmux\"}"), ("deploy", "{\"environment\":\"test\"}")];
    assert_eq!(calls(harness.chat("Hi").await.assert_ok().body()), expected);
    assert_eq!(calls(harness.chat_stream("Hi").await.assert_ok().body()), expected);
    for refused in [
        ("shell", "{}"),
        ("deploy", "{}"),
        ("deploy", "{\"environment\":\"production\"}"),
        ("deploy", "{\"environment\":\"test\",\"environment\":\"production\"}"),
        ("search", "[]"),
        ("search", "{"),
    ] {
        harness.respond(answer(&[refused])).respond(answer(&[refused]));
        harness.chat("Hi").await.assert_rejected(403);
        let reply = harness.chat_stream("Hi").await;
        reply.assert_rejected(403);
        assert!(
            !json!(reply.chunks()).to_string().contains("tool_calls"),
            "{refused:?}: {:?}",
            reply.chunks()
        );
    }
    assert_eq!(harness.failures(), Vec::<String>::new());
}

#[tokio::test]
async fn calls_that_are_not_listed_end_the_request() {
    guards(Harness::new::<ToolGuard>(config(false)).await).await;
}

#[tokio::test]
async fn so_they_do_from_a_library() {
    guards(Harness::library(example("llmux-abi", "tool_guard"), config(false)).await).await;
}

#[tokio::test]
async fn a_name_that_stands_twice_is_sent_once() {
    let harness = Harness::new::<ToolGuard>(config(true)).await;
    let twice = "{\"environment\":\"production\",\"environment\":\"test\"}";
    let answered = answer(&[("shell", "{}"), ("deploy", twice)]);
    harness.respond(answered.clone()).respond(answered);
    let expected = [("deploy", "{\"environment\":\"test\"}")];
    assert_eq!(calls(harness.chat("Hi").await.assert_ok().body()), expected);
    assert_eq!(calls(harness.chat_stream("Hi").await.assert_ok().body()), expected);
}
