//! Answers in an unexpected form, and errors with status 200: plain and streamed.

use std::time::Duration;

use async_compression::futures::write::{BrotliEncoder, GzipEncoder, ZstdEncoder};
use futures_util::{AsyncWriteExt, StreamExt};
use llmux_core::{
    Endpoint, ErrorKind, Progress,
    provider::{Event, Provider},
};
use llmux_testing::{ScriptedResponse, ScriptedServer};

use crate::{CHUNK, DONE, KEY, builder, call, chat, provider, send, stream};

const ANSWER: &str = r#"{"id":"a","object":"chat.completion","choices":[{"index":0,"message":{"role":"assistant","content":"hi"},"finish_reason":"stop"}]}"#;
const LAST: &str = "data: {\"object\":\"chat.completion.chunk\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\" you\"},\"finish_reason\":\"stop\"}]}\n\n";
const FIRST: &str = "data: {\"object\":\"chat.completion.chunk\",\"choices\":[{\"index\":0,\"delta\":{\"role\":\"assistant\",\"content\":\"hi\"}}]}\n\n";

async fn compressed(encoding: &str, text: &str) -> Vec<u8> {
    macro_rules! with {
        ($encoder:ident) => {{
            let mut encoder = $encoder::new(Vec::new());
            encoder.write_all(text.as_bytes()).await.unwrap();
            encoder.close().await.unwrap();
            encoder.into_inner()
        }};
    }
    match encoding {
        "gzip" => with!(GzipEncoder),
        "br" => with!(BrotliEncoder),
        _ => with!(ZstdEncoder),
    }
}

#[tokio::test]
async fn f5_an_error_with_status_200_is_that_error() {
    for (body, status) in [
        (r#"{"error":{"message":"slow down","code":429},"choices":null}"#, 429),
        (r#"{"object":"chat.completion","choices":[],"error":{"message":"slow down","code":"429"}}"#, 429),
        (r#"{"error":"slow down"}"#, 502),
        (r#"{"object":"error","message":"slow down","code":429}"#, 429),
        (r#"[{"error":{"message":"slow down","code":429}}]"#, 429),
    ] {
        let event = format!("data: {body}\n\n");
        let named = format!("event: error\n{event}");
        for error in [
            send(ScriptedResponse::json(200, body)).await.unwrap_err(),
            stream(ScriptedResponse::json(200, body)).await.unwrap_err(),
            stream(ScriptedResponse::sse([event])).await.unwrap_err(),
            send(ScriptedResponse::sse([named.clone()])).await.unwrap_err(),
            stream(ScriptedResponse::sse([named])).await.unwrap_err(),
        ] {
            assert_eq!((error.kind(), error.status()), (ErrorKind::Provider, status), "{error} from {body}");
            assert_eq!(error.message(), "slow down", "{body}");
        }
    }
    let fine = ANSWER.replace("\"id\"", "\"error\":null,\"id\"");
    assert_eq!(send(ScriptedResponse::json(200, fine.clone())).await.unwrap().to_bytes(), fine);
}

#[tokio::test]
async fn f5_the_first_event_of_responses_may_be_an_error() {
    let event = "event: error\ndata: {\"type\":\"error\",\"code\":\"429\",\"message\":\"slow down\"}\n\n";
    let upstream = ScriptedServer::start([ScriptedResponse::sse([event])]).await;
    let error = provider(&upstream).stream(call(Endpoint::Responses)).await.err().unwrap();
    assert_eq!((error.status(), error.message()), (429, "slow down"));
}

#[tokio::test]
async fn f8_a_stream_answers_a_plain_request() {
    for kind in ["text/event-stream", "application/json"] {
        let answer = ScriptedResponse::sse([FIRST, ": alive\n\n", LAST, DONE]).header("content-type", kind);
        let document = send(answer).await.unwrap();
        assert_eq!(document.get_str("/object"), Some("chat.completion"));
        assert_eq!(document.get_str("/choices/0/message/content"), Some("hi you"));
    }
    let error = send(ScriptedResponse::sse([FIRST])).await.unwrap_err();
    assert_eq!((error.kind(), error.progress()), (ErrorKind::BadGateway, Progress::Answered), "{error}");
}

#[tokio::test]
async fn f8_a_json_document_answers_a_request_for_a_stream() {
    for kind in ["text/event-stream", "application/json"] {
        let answer = ScriptedResponse::json(200, format!("\n\n {ANSWER}")).header("content-type", kind);
        let events = stream(answer).await.unwrap().concat();
        assert!(events.contains("\"content\":\"hi\"") && events.contains("\"stop\""), "{events}");
    }
    for kind in ["application/json", "text/plain", "application/octet-stream"] {
        let answer = ScriptedResponse::sse([FIRST, LAST, DONE]).header("content-type", kind);
        assert_eq!(stream(answer).await.unwrap().len(), 2, "{kind}");
    }
}

#[tokio::test]
async fn f8_a_compressed_answer_is_read() {
    for encoding in ["gzip", "br", "zstd"] {
        let compress = |body| ScriptedResponse::json(200, body).header("content-encoding", encoding);
        let plain = compress(compressed(encoding, ANSWER).await);
        assert_eq!(send(plain.clone()).await.unwrap().to_bytes(), ANSWER, "{encoding}");
        assert!(stream(plain).await.unwrap().concat().contains("\"content\":\"hi\""), "{encoding}");
        let events = compressed(encoding, &[FIRST, LAST, DONE].concat()).await;
        let events = compress(events).header("content-type", "text/event-stream");
        assert_eq!(stream(events).await.unwrap().len(), 2, "{encoding}");

        let parts = [compressed(encoding, &ANSWER[..9]).await, compressed(encoding, &ANSWER[9..]).await];
        if encoding != "br" {
            assert_eq!(
                send(compress(parts.concat())).await.unwrap().to_bytes(),
                ANSWER,
                "{encoding}, in parts"
            );
        }

        let bomb = compress(compressed(encoding, &format!("{{\"a\":\"{}\"}}", "x".repeat(1 << 20))).await);
        let upstream = ScriptedServer::start([bomb]).await;
        let limited = builder(&upstream).max_response_bytes(1 << 16).build().unwrap();
        let error = limited.send(chat()).await.unwrap_err();
        assert!(error.message().contains("more than 65536 bytes"), "{error}");
    }
    for (encoding, message) in
        [("gzip", "could not be decompressed"), ("compress", "compressed its answer with `compress`")]
    {
        let error = send(ScriptedResponse::json(200, ANSWER).header("content-encoding", encoding)).await;
        let error = error.unwrap_err();
        assert!(error.message().contains(message), "{error}");
        assert_eq!(error.progress(), Progress::Answered);
    }
}

#[tokio::test]
async fn f8_a_compressed_event_arrives_before_the_next_is_sent() {
    let mut encoder = GzipEncoder::new(Vec::new());
    encoder.write_all(CHUNK.as_bytes()).await.unwrap();
    encoder.flush().await.unwrap();
    let first = encoder.into_inner();
    let answer = ScriptedResponse::sse([first]).header("content-encoding", "gzip").then_hang();
    let upstream = ScriptedServer::start([answer]).await;
    let mut events = provider(&upstream).stream(chat()).await.unwrap().content;
    let first = tokio::time::timeout(Duration::from_secs(5), events.next()).await;
    assert!(matches!(first.unwrap(), Some(Ok(Event { .. }))));
}

#[tokio::test]
async fn f8_an_error_says_what_arrived_in_few_visible_characters() {
    let page = format!("<html><b>Sorry</b> {KEY} {}</html>", "x ".repeat(1_000));
    for error in [
        send(ScriptedResponse::json(200, page.clone())).await.unwrap_err(),
        stream(ScriptedResponse::json(200, page.clone())).await.unwrap_err(),
    ] {
        let expected = "the provider answered with status 200, content type application/json and a body that is \
                        neither JSON nor a stream of events: Sorry [redacted] x x";
        assert!(error.message().starts_with(expected), "{error}");
        assert!(error.message().chars().count() < 330 && !error.message().contains('<'), "{error}");
    }
}

#[tokio::test]
async fn f8_a_number_that_json_does_not_have_passes_plain_and_streamed() {
    let answer =
        ANSWER.replace("\"index\":0", "\"index\":0,\"logprobs\":{\"content\":[{\"logprob\":-Infinity}]}");
    let document = send(ScriptedResponse::json(200, answer.clone())).await.unwrap();
    assert_eq!(document.to_bytes(), answer);
    assert_eq!(document.get("/choices/0/logprobs/content/0/logprob"), Some("null"));
    let first = FIRST.replace("\"index\":0", "\"index\":0,\"logprob\":-Infinity,\"text\":\"\\ud83d\"");
    let pieces = || [first.clone(), LAST.to_owned(), DONE.to_owned()];
    let events = stream(ScriptedResponse::sse(pieces())).await.unwrap();
    assert_eq!(format!("data: {}\n\n", events[0].trim_start_matches('|')), first);
    // Joined and split answers are written anew, and are JSON.
    let joined = send(ScriptedResponse::sse(pieces())).await.unwrap();
    assert_eq!(joined.get_str("/choices/0/message/content"), Some("hi you"));
    for event in stream(ScriptedResponse::json(200, answer)).await.unwrap() {
        serde_json::from_str::<serde_json::Value>(event.trim_start_matches('|')).expect(&event);
    }
    // An error with such a number is still that error.
    let error = r#"{"error":{"message":"slow down","code":429},"score":NaN}"#;
    let error = send(ScriptedResponse::json(200, error)).await.unwrap_err();
    assert_eq!((error.status(), error.message()), (429, "slow down"));
}

#[tokio::test]
async fn s9_a_choice_with_an_empty_reason_has_not_ended() {
    let empty = LAST.replace("\"stop\"", "\"\"");
    let events = stream(ScriptedResponse::sse([FIRST.to_owned(), empty.clone()])).await.unwrap();
    assert!(events.last().is_some_and(|last| last.starts_with('!')), "{events:?}");
    let events = stream(ScriptedResponse::sse([FIRST.to_owned(), empty, DONE.to_owned()])).await.unwrap();
    assert!(events.len() == 2 && events.iter().all(|event| event.starts_with('|')), "{events:?}");
}
