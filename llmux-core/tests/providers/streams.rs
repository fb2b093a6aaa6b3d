//! Streams: events, ends, and backpressure.

use std::time::Duration;

use futures_util::StreamExt;
use llmux_core::{Endpoint, ErrorKind, provider::Provider};
use llmux_testing::{ScriptedResponse, ScriptedServer};

use crate::{CHUNK, DONE, call, chat, collect, provider, stream};

#[tokio::test]
async fn a_stream_is_events_until_its_end() {
    let upstream = ScriptedServer::start([ScriptedResponse::sse([CHUNK, ": alive\n\n", CHUNK, DONE])]).await;
    let events = provider(&upstream).stream(chat()).await.unwrap().content;
    let chunk = r#"|{"choices":[{"delta":{"content":"hi"},"finish_reason":null}]}"#;
    assert_eq!(collect(events).await, [chunk, chunk]);
    assert_eq!(upstream.requests()[0].header("accept"), Some("text/event-stream"));
}

#[tokio::test]
async fn an_event_arrives_before_the_next_is_sent() {
    let upstream = ScriptedServer::start([ScriptedResponse::sse([CHUNK]).then_hang()]).await;
    let mut events = provider(&upstream).stream(chat()).await.unwrap().content;
    let first = tokio::time::timeout(Duration::from_secs(1), events.next()).await;
    assert!(first.unwrap().unwrap().is_ok());
}

#[tokio::test]
async fn an_upstream_that_closes_in_a_stream_is_an_error_at_its_end() {
    for answer in [
        ScriptedResponse::sse([CHUNK]),
        ScriptedResponse::sse([CHUNK]).then_close(),
        ScriptedResponse::sse([CHUNK, "data: {\"cho"]),
        ScriptedResponse::sse([CHUNK, "data: {\"cho"]).then_close(),
        ScriptedResponse::sse([CHUNK]).then_pause(Duration::from_millis(20)).then_close(),
    ] {
        let what = format!("{answer:?}");
        let events = stream(answer).await.unwrap();
        assert_eq!(events.len(), 2, "{events:?} from {what}");
        assert!(
            events[1].starts_with("!bad_gateway: the provider's stream broke off")
                || events[1].starts_with("!bad_gateway: the response broke off"),
            "{events:?} from {what}"
        );
    }
}

#[tokio::test]
async fn what_is_no_stream_is_an_error_before_the_stream() {
    use ErrorKind::{BadGateway, Provider};
    let error = r#"{"error":{"message":"overloaded","code":529}}"#;
    let page =
        ScriptedResponse::json(200, "<html>Down</html>").header("content-type", "Text/HTML; charset=x");
    for (answer, expected) in [
        (ScriptedResponse::json(200, error), (Provider, 529, "overloaded")),
        (
            ScriptedResponse::json(200, ""),
            (
                BadGateway,
                502,
                "the provider answered with status 200, content type application/json and an empty body",
            ),
        ),
        (
            page,
            (
                BadGateway,
                502,
                "the provider answered with status 200, content type Text/HTML; charset=x and a body that is neither \
                 JSON nor a stream of events: Down",
            ),
        ),
    ] {
        let error = stream(answer).await.unwrap_err();
        assert_eq!((error.kind(), error.status(), error.message()), expected);
    }
    let upstream = ScriptedServer::start([]).await;
    let error = provider(&upstream).stream(call(Endpoint::Embeddings)).await.err().unwrap();
    assert_eq!(error.kind(), ErrorKind::InvalidRequest);
    assert!(upstream.requests().is_empty());
}

#[tokio::test]
async fn dropping_a_stream_or_a_request_closes_the_connection() {
    let upstream =
        ScriptedServer::start([ScriptedResponse::sse([CHUNK]).then_hang(), ScriptedResponse::hang()]).await;
    let provider = provider(&upstream);
    let mut events = provider.stream(chat()).await.unwrap().content;
    assert!(events.next().await.unwrap().is_ok());
    drop(events);
    tokio::time::timeout(Duration::from_secs(1), upstream.closed()).await.expect("a dropped stream closes");

    let request = provider.send(chat());
    assert!(tokio::time::timeout(Duration::from_millis(100), request).await.is_err());
    tokio::time::timeout(Duration::from_secs(1), upstream.closed()).await.expect("a dropped request closes");
}

#[tokio::test]
async fn a_client_that_does_not_read_slows_the_upstream() {
    // Far more than sockets buffer.
    let piece = format!("data: {}\n\n", "x".repeat(1 << 20));
    let upstream = ScriptedServer::start([ScriptedResponse::sse(vec![piece; 64]).then(DONE)]).await;
    let mut events = provider(&upstream).stream(chat()).await.unwrap().content;
    assert!(events.next().await.unwrap().is_ok());
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(upstream.sent() < 32 << 20, "{} bytes went into nowhere", upstream.sent());
    assert_eq!(events.count().await, 63);
}
