//! The whole system, as its users have it: a plugin built outside of this workspace, a running `llmux`, a third-party
//! OpenAI client, and the admin API.

mod clients;
mod ends;
mod hangs;
mod initializers;
#[cfg(target_os = "linux")]
mod isolation;
mod native;
mod process_state;
#[cfg(target_os = "linux")]
mod sandbox;
mod trials;
mod visitor;

use async_openai::{
    Client,
    config::OpenAIConfig,
    types::chat::{
        ChatCompletionRequestUserMessageArgs, CreateChatCompletionRequest, CreateChatCompletionRequestArgs,
    },
};
use futures_util::StreamExt;
use llmux_testing::{Server, program::until};
use serde_json::{Value, json};

/// Configuration with a slow model and quick models.
const CONFIGURATION: &str = r#"
[[provider]]
name = "quick"
type = "echo"
models = ["echo", "echo-request"]

[[provider]]
name = "slow"
type = "echo"
models = [{ name = "slow", upstream = "echo" }]
chunk_delay = "300ms"
"#;

/// Returns the configuration with more text at its end.
fn configuration(more: &str) -> String {
    format!("{CONFIGURATION}{more}")
}

fn client(server: &Server) -> Client<OpenAIConfig> {
    Client::with_config(OpenAIConfig::new().with_api_base(format!("{}/v1", server.api)).with_api_key("none"))
}

fn chat(model: &str, text: &str) -> CreateChatCompletionRequest {
    let message = ChatCompletionRequestUserMessageArgs::default().content(text).build().expect("a message");
    let request = CreateChatCompletionRequestArgs::default().model(model).messages([message.into()]).build();
    request.expect("a request")
}

async fn answer(client: &Client<OpenAIConfig>, model: &str, text: &str) -> String {
    let response = client.chat().create(chat(model, text)).await.expect("a response");
    response.choices[0].message.content.clone().unwrap_or_default()
}

/// Reads the rest of a stream and returns its text.
async fn rest<S, E>(stream: &mut S) -> String
where
    S: futures_util::Stream<Item = Result<async_openai::types::chat::CreateChatCompletionStreamResponse, E>>
        + Unpin,
    E: std::fmt::Debug,
{
    let mut text = String::new();
    while let Some(chunk) = stream.next().await {
        let chunk = chunk.expect("a chunk");
        let delta = chunk.choices.first().and_then(|choice| choice.delta.content.clone());
        text.push_str(&delta.unwrap_or_default());
    }
    text
}

#[tokio::test]
async fn a_library_compiled_elsewhere_changes_live_requests_until_it_is_unloaded() {
    let server = Server::with(CONFIGURATION, &[]).await;
    let client = client(&server);
    assert_eq!(answer(&client, "echo", "Hello there").await, "Hello there", "no plugin yet");

    let body = json!({"path": visitor::library(), "config": {"mark": "was here"}});
    let (status, loaded) = server.call("POST", "/admin/plugins", Some(&body)).await;
    assert_eq!(
        (status, &loaded["state"], &loaded["generation"]),
        (201, &json!("active"), &json!(1)),
        "{loaded}"
    );
    assert_eq!(loaded["version"], "0.3.1");

    // The response, through a client that nobody here wrote.
    assert_eq!(answer(&client, "echo", "Hello there").await, "Hello there [was here]");
    // The request, as the provider would have got it.
    let sent = answer(&client, "echo-request", "Hello there").await;
    let sent: Value = serde_json::from_str(sent.trim_end_matches(" [was here]")).expect("a body");
    assert_eq!(sent["messages"][0], json!({"role": "system", "content": "was here"}));
    // A stream, and its header, through raw HTTP.
    let body =
        json!({"model": "echo", "stream": true, "messages": [{"role": "user", "content": "so be it"}]});
    let body = body.to_string();
    let head = "POST /v1/chat/completions HTTP/1.0\r\nhost: localhost\r\ncontent-type: application/json\r\n";
    let raw = server.raw(&format!("{head}content-length: {}\r\n\r\n{body}", body.len())).await;
    let (head, events) = raw.split_once("\r\n\r\n").expect("a head");
    assert!(head.contains("x-visitor: was here"), "{head}");
    assert!(events.contains("\"SO") && events.ends_with("data: [DONE]\n\n"), "{events}");

    // A stream that is under way keeps its plugin; what comes after does without.
    let mut stream = client.chat().create_stream(chat("slow", "one two three four")).await.expect("a stream");
    let mut text = String::new();
    while text.is_empty() {
        let chunk = stream.next().await.expect("a chunk").expect("a chunk");
        text.push_str(chunk.choices[0].delta.content.as_deref().unwrap_or_default());
    }
    let unload = tokio::spawn(server.call("DELETE", "/admin/plugins/visitor", None));
    until("new requests run without it", async || answer(&client, "echo", "And now").await == "And now")
        .await;
    text.push_str(&rest(&mut stream).await);
    assert_eq!(text, "ONE TWO THREE FOUR", "the stream ends as it began");
    assert_eq!(unload.await.expect("an answer").0, 204, "once the stream has ended, it is gone");

    let (_, list) = server.call("GET", "/admin/plugins", None).await;
    assert_eq!(list["plugins"], json!([]));
    assert_eq!(list["retired"]["count"], 1, "the image stays mapped, and is counted");
    let log = server.stop().await;
    for line in ["visitor is here", "the visitor leaves"] {
        assert!(log.contains(line), "the library's own events reach the host's log: {line}\n{log}");
    }
}

#[tokio::test]
async fn e5_a_panic_of_a_loaded_plugin_leaves_every_other_request_alone() {
    let server = Server::with(CONFIGURATION, &[]).await;
    let client = client(&server);
    let body = json!({"path": visitor::library(), "config": {"mark": "m"}});
    assert_eq!(server.call("POST", "/admin/plugins", Some(&body)).await.0, 201);
    let requests = (0..20).map(|at| {
        let client = client.clone();
        async move { answer(&client, "echo", if at % 2 == 0 { "panic" } else { "fine" }).await }
    });
    let answers = futures_util::future::join_all(requests).await;
    for (at, answer) in answers.iter().enumerate() {
        assert_eq!(answer, if at % 2 == 0 { "panic [m]" } else { "fine [m]" }, "request {at} goes on");
    }
    let (_, info) = server.call("GET", "/admin/plugins/visitor", None).await;
    let panics =
        info["hooks"].as_array().into_iter().flatten().map(|hook| hook["panics"].as_u64().unwrap_or(0));
    assert_eq!(panics.sum::<u64>(), 10, "{info}");
    assert!(server.stop().await.contains("as it was told"), "the panic's message is in the log");
}

#[tokio::test]
async fn the_other_endpoints_go_the_same_way() {
    let server = Server::with(CONFIGURATION, &[]).await;
    let client = client(&server);
    let body = json!({"path": visitor::library(), "config": {"mark": "m"}});
    assert_eq!(server.call("POST", "/admin/plugins", Some(&body)).await.0, 201);
    let request = async_openai::types::embeddings::CreateEmbeddingRequestArgs::default()
        .model("echo")
        .input("some text")
        .build()
        .expect("a request");
    let embeddings = client.embeddings().create(request).await.expect("a response");
    assert!(!embeddings.data[0].embedding.is_empty());
    let request = async_openai::types::responses::CreateResponseArgs::default()
        .model("echo")
        .input("Hello there")
        .build()
        .expect("a request");
    let response = client.responses().create(request).await.expect("a response");
    assert_eq!(response.output_text().as_deref(), Some("Hello there"), "no content that the plugin knows");
    let (_, info) = server.call("GET", "/admin/plugins/visitor", None).await;
    let pre = &info["hooks"][0];
    assert_eq!((&pre["hook"], &pre["calls"]), (&json!("pre_hook"), &json!(2)), "{info}");
}
