//! Tests of the time limits of connections, with a paused clock and connections in memory.

use axum::{body::Body, response::Response, routing::get};
use bytes::Bytes;
use futures_util::stream;
use http_body_util::{BodyExt, Empty};
use hyper_util::rt::TokioExecutor;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex},
    sync::oneshot,
    task::JoinHandle,
};

use super::*;

const LIMITS: Limits =
    Limits { read: Duration::from_secs(2), write: Duration::from_secs(30), idle: Duration::from_secs(90) };
const ASK: &[u8] = b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n";

/// Starts a connection. Returns the client's end of it, the task that serves it, and the sender of the phase.
fn connect(is_http2: bool, router: Router) -> (DuplexStream, JoinHandle<()>, watch::Sender<Phase>) {
    let (client, server) = duplex(64 * 1024);
    let (phase, phases) = watch::channel(Phase::Running);
    let peer = [127, 0, 0, 1].into();
    let served = tokio::spawn(converse(server, is_http2, peer, router, LIMITS, phases));
    (client, served, phase)
}

fn router() -> Router {
    let slow = async || {
        sleep(Duration::from_secs(600)).await;
        "slow"
    };
    Router::new().route("/", get(async || "ok")).route("/slow", get(slow))
}

async fn ask(client: &mut DuplexStream) {
    client.write_all(ASK).await.expect("sent");
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n\r\nok") {
        assert_ne!(client.read_buf(&mut answer).await.expect("read"), 0, "the connection ended");
    }
}

/// Returns the seconds until the server ends the connection.
async fn seconds_to_end(mut client: DuplexStream) -> u64 {
    let begun = Instant::now();
    let read = client.read_to_end(&mut Vec::new()).await;
    assert!(read.is_ok(), "{read:?}");
    begun.elapsed().as_secs()
}

#[tokio::test(start_paused = true)]
async fn a_kept_connection_has_an_idle_time_of_its_own() {
    let (mut client, _served, _phase) = connect(false, router());
    for _ in 0..3 {
        ask(&mut client).await;
        sleep(Duration::from_secs(89)).await;
    }
    ask(&mut client).await;
    assert_eq!(seconds_to_end(client).await, 90);
}

#[tokio::test(start_paused = true)]
async fn a_head_has_its_time_from_its_first_byte_also_at_the_end_of_the_idle_time() {
    let (mut client, _served, _phase) = connect(false, router());
    ask(&mut client).await;
    sleep(Duration::from_secs(89)).await;
    client.write_all(&ASK[..10]).await.expect("sent");
    sleep(Duration::from_millis(1500)).await;
    client.write_all(&ASK[10..]).await.expect("sent");
    let mut answer = [0; 12];
    client.read_exact(&mut answer).await.expect("answered after the idle time");
    assert_eq!(&answer, b"HTTP/1.1 200");

    let (mut client, _served, _phase) = connect(false, router());
    ask(&mut client).await;
    let begun = Instant::now();
    // Each byte comes in time, and the head does not.
    for byte in ASK {
        if client.write_all(&[*byte]).await.is_err() {
            break;
        }
        sleep(Duration::from_millis(500)).await;
    }
    assert!(begun.elapsed() < Duration::from_secs(4), "{:?}", begun.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_slow_request_is_not_idle() {
    for is_http2 in [false, true] {
        let (client, served, _phase) = connect(is_http2, router());
        if is_http2 {
            let (mut sender, connection) =
                hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(client))
                    .await
                    .expect("a connection");
            tokio::spawn(connection);
            let request = http::Request::get("http://localhost/slow").body(Empty::<Bytes>::new());
            let answer = sender.send_request(request.expect("a request")).await.expect("an answer");
            let body = answer.into_body().collect().await.expect("a body");
            assert_eq!(body.to_bytes(), "slow");
            let begun = Instant::now();
            served.await.expect("no panic");
            assert_eq!(begun.elapsed().as_secs(), 90, "HTTP/2 has the same idle time");
        } else {
            let mut client = client;
            client.write_all(b"GET /slow HTTP/1.1\r\nhost: localhost\r\n\r\n").await.expect("sent");
            let mut answer = Vec::new();
            while !answer.ends_with(b"slow") {
                assert_ne!(client.read_buf(&mut answer).await.expect("read"), 0, "the connection ended");
            }
            assert_eq!(seconds_to_end(client).await, 90);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn s6_a_client_of_http2_that_stops_reading_a_stream_loses_it_and_keeps_the_connection() {
    let (gone, left) = oneshot::channel::<()>();
    let gone = Arc::new(std::sync::Mutex::new(Some(gone)));
    // An answer without end, which notes that it was dropped.
    let endless = move || {
        let gone = gone.lock().expect("not poisoned").take();
        let pieces = stream::repeat_with(move || {
            let _held = &gone;
            Ok::<_, std::io::Error>(Bytes::from_static(&[0; 16 * 1024]))
        });
        async move { Response::new(Body::from_stream(pieces)) }
    };
    let (client, _served, _phase) = connect(true, router().route("/endless", get(endless)));
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(client))
            .await
            .expect("a connection");
    tokio::spawn(connection);
    let get = |path: &str| {
        let request = http::Request::get(format!("http://localhost{path}")).body(Empty::<Bytes>::new());
        request.expect("a request")
    };
    let mut unread = sender.send_request(get("/endless")).await.expect("an answer").into_body();
    for _ in 0..100 {
        sleep(Duration::from_secs(29)).await;
        // As much as the server sends at once; it sends more then.
        let _ = unread.frame().await.expect("a frame").expect("no error");
    }
    let begun = Instant::now();
    let dropped = timeout_at(begun + LIMITS.write + Duration::from_secs(30), left).await;
    assert!(dropped.expect("in time").is_err(), "the answer is dropped");
    let other = sender.send_request(get("/")).await.expect("the connection serves on");
    assert_eq!(other.status(), 200);
}
