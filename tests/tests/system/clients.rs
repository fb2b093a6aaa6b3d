//! Clients that nobody here wrote read masked answers and streamed tool calls.

use std::path::Path;

use async_openai::{
    Client,
    config::OpenAIConfig,
    types::responses::{CreateResponse, CreateResponseArgs, ResponseStreamEvent},
};
use futures_util::StreamExt;
use llmux_testing::{ScriptedResponse, ScriptedServer, Server};
use llmux_tests::Fixtures;
use serde_json::{Value, json};
use tokio::process::Command;

use super::{answer, chat, client, configuration, rest};

const SAID: &str = "the hidden word is hid den, and hidden again";
const READ: &str = "the [mask] word is hid den, and [mask] again";

/// The error of the tool call that is refused.
const REFUSAL: &str = "a tool that is refused";

/// Returns a server whose answers are masked. The model `api` answers with tool calls, the last time with one that is refused.
async fn start() -> (Server, ScriptedServer) {
    let delta = |delta: Value, reason: Value| {
        let choice = json!({"index": 0, "delta": delta, "finish_reason": reason});
        let head = json!({"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "api"});
        let mut chunk = head.as_object().expect("an object").clone();
        chunk.insert("choices".to_owned(), json!([choice]));
        format!("data: {}\n\n", Value::Object(chunk))
    };
    let call = |index: u32, name: &str, arguments: &str| {
        let begin = json!({"index": index, "id": format!("call_{index}"), "type": "function", "function": {"name": name, "arguments": ""}});
        let rest = |part: &str| json!({"index": index, "function": {"arguments": part}});
        let (one, two) = arguments.split_at(arguments.len() / 2);
        [begin, rest(one), rest(two)].map(|call| delta(json!({"tool_calls": [call]}), Value::Null))
    };
    let stream = |calls: Vec<[String; 3]>| {
        let begin = delta(json!({"role": "assistant", "content": "The hidden answer. "}), Value::Null);
        let end = [delta(json!({}), json!("tool_calls")), "data: [DONE]\n\n".to_owned()];
        ScriptedResponse::sse([begin].into_iter().chain(calls.into_iter().flatten()).chain(end))
    };
    let api = ScriptedServer::start([
        stream(vec![call(0, "erase", "{}"), call(1, "find", r#"{"text":"é"}"#)]),
        stream(vec![call(0, "erase", "{}")]),
        stream(vec![call(0, "pay", r#"{"amount":1}"#)]),
    ])
    .await;
    let base = api.base_url();
    let more = format!(
        "[[provider]]\nname = \"api\"\ntype = \"openai\"\nbase_url = \"{base}\"\nmodels = [\"api\"]\n"
    );
    let server = Server::with(&configuration(&more), &[]).await;
    for body in [
        json!({"path": Fixtures::get().texts(), "config": {"replace": ["hidden", "[mask]"], "side": "Answer"}}),
        json!({"path": Fixtures::get().tool_calls(), "config": {
            "rename": ["find", "look"], "add": ["safe", true], "remove": "erase", "refuse": "pay",
        }}),
    ] {
        let (status, loaded) = server.call("POST", "/admin/plugins", Some(&body)).await;
        assert_eq!(status, 201, "{loaded}");
    }
    (server, api)
}

/// Returns what every client must read.
fn expected() -> Value {
    let text = "The [mask] answer. ";
    json!({
        "masked": [READ, READ, READ, READ],
        "calls": [
            {"text": text, "calls": [["look", r#"{"safe":true,"text":"é"}"#]], "reason": "tool_calls"},
            {"text": text, "calls": [], "reason": "stop"},
            {"text": text, "error": REFUSAL},
        ],
    })
}

fn response(text: &str) -> CreateResponse {
    CreateResponseArgs::default().model("echo").input(text).build().expect("a request")
}

/// Returns the text, the tool calls and the end of a streamed chat.
async fn streamed_chat(client: &Client<OpenAIConfig>) -> Value {
    let mut chunks = client.chat().create_stream(chat("api", SAID)).await.expect("a stream");
    let (mut text, mut calls, mut reason) = (String::new(), Vec::<(String, String)>::new(), Value::Null);
    while let Some(chunk) = chunks.next().await {
        let chunk = match chunk {
            Ok(chunk) => chunk,
            // This client takes an error in a stream for a chunk that it does not know.
            Err(error) if error.to_string().contains(REFUSAL) => {
                return json!({"text": text, "error": REFUSAL});
            }
            Err(error) => panic!("{error}"),
        };
        for choice in chunk.choices {
            text.push_str(&choice.delta.content.unwrap_or_default());
            if let Some(ended) = choice.finish_reason {
                reason = json!(ended);
            }
            for call in choice.delta.tool_calls.unwrap_or_default() {
                let at = call.index as usize;
                calls.resize(calls.len().max(at + 1), <_>::default());
                let function = call.function.expect("a function");
                calls[at].0.push_str(&function.name.unwrap_or_default());
                calls[at].1.push_str(&function.arguments.unwrap_or_default());
            }
        }
    }
    json!({"text": text, "calls": calls, "reason": reason})
}

#[tokio::test]
async fn t3_t5_a_client_of_others_reads_masked_answers_and_tool_calls() {
    let (server, _api) = start().await;
    let client = client(&server);
    assert_eq!(answer(&client, "echo", SAID).await, READ);
    let whole = client.responses().create(response(SAID)).await.expect("a response");
    assert_eq!(whole.output_text().as_deref(), Some(READ));

    let mut chunks = client.chat().create_stream(chat("echo", SAID)).await.expect("a stream");
    let chat = rest(&mut chunks).await;
    let mut events = client.responses().create_stream(response(SAID)).await.expect("a stream");
    let (mut deltas, mut done, mut completed) = (String::new(), None, None);
    while let Some(event) = events.next().await {
        match event.expect("an event that the client knows") {
            ResponseStreamEvent::ResponseOutputTextDelta(event) => deltas.push_str(&event.delta),
            ResponseStreamEvent::ResponseOutputTextDone(event) => done = Some(event.text),
            ResponseStreamEvent::ResponseCompleted(event) => completed = event.response.output_text(),
            _ => {}
        }
    }
    let mut calls = Vec::new();
    for _ in 0..3 {
        calls.push(streamed_chat(&client).await);
    }
    assert_eq!(
        json!({"masked": [json!(chat), json!(deltas), json!(done), json!(completed)], "calls": calls}),
        expected()
    );
    server.stop().await;
}

/// The programs and the packages that they need are those of `.ci/full`.
#[tokio::test]
#[ignore = "needs Python and Node, each with the package `openai`"]
async fn t3_t5_the_official_clients_read_masked_answers_and_tool_calls() {
    let scripts = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/system/clients");
    for (program, script) in [("python3", "reader.py"), ("node", "reader.cjs")] {
        let (server, _api) = start().await;
        let arguments =
            [scripts.join(script).into_os_string(), format!("{}/v1", server.api).into(), SAID.into()];
        let output = Command::new(program).args(arguments).output().await.expect("the program");
        assert!(output.status.success(), "{program}: {}", String::from_utf8_lossy(&output.stderr));
        let read: Value = serde_json::from_slice(&output.stdout).expect("what the client has read");
        assert_eq!(read, expected(), "{program}");
        server.stop().await;
    }
}
