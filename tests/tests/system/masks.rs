//! A client that nobody here wrote reads masked answers: plain and streamed, chats and response objects.

use async_openai::types::responses::{CreateResponse, CreateResponseArgs, ResponseStreamEvent};
use futures_util::StreamExt;
use llmux_testing::Server;
use llmux_tests::Fixtures;
use serde_json::json;

use super::{CONFIGURATION, answer, chat, client, rest};

const SAID: &str = "the hidden word is hid den, and hidden again";
const READ: &str = "the [mask] word is hid den, and [mask] again";

fn response(text: &str) -> CreateResponse {
    CreateResponseArgs::default().model("echo").input(text).build().expect("a request")
}

#[tokio::test]
async fn t3_a_client_of_others_reads_masked_answers() {
    let server = Server::with(CONFIGURATION, &[]).await;
    let client = client(&server);
    let config = json!({"replace": ["hidden", "[mask]"], "side": "Answer"});
    let body = json!({"path": Fixtures::get().texts(), "config": config});
    let (status, loaded) = server.call("POST", "/admin/plugins", Some(&body)).await;
    assert_eq!(status, 201, "{loaded}");

    assert_eq!(answer(&client, "echo", SAID).await, READ);
    let mut chunks = client.chat().create_stream(chat("echo", SAID)).await.expect("a stream");
    assert_eq!(rest(&mut chunks).await, READ);
    let whole = client.responses().create(response(SAID)).await.expect("a response");
    assert_eq!(whole.output_text().as_deref(), Some(READ));

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
    assert_eq!((deltas.as_str(), done.as_deref(), completed.as_deref()), (READ, Some(READ), Some(READ)));
    server.stop().await;
}
