//! Tests of a link with a real server that is killed and restarted.

use std::time::{Duration, Instant};

use llmux_redis_link::{Error, Link, RedisConfig, redis, testing::RedisServer};

/// A timeout that is longer than a machine under load takes to connect.
const TIMEOUT: Duration = Duration::from_secs(5);

async fn ping(link: &Link) -> Result<String, Error> {
    link.call(async |mut connection| redis::cmd("PING").query_async(&mut connection).await).await
}

async fn until_up(link: &Link) {
    let started = Instant::now();
    while ping(link).await.is_err() {
        assert!(started.elapsed() < Duration::from_secs(10), "the link never connected");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn a_link_survives_its_server() {
    let mut server = RedisServer::start().expect("redis-server");
    let link = Link::open(&RedisConfig::new(&server.url(), TIMEOUT), Box::new(drop)).expect("a link");
    assert_eq!(ping(&link).await.expect("the first call finds a connection"), "PONG");
    server.kill();
    assert!(ping(&link).await.is_err());
    let asked = Instant::now();
    assert!(matches!(ping(&link).await, Err(Error::Away)));
    assert!(asked.elapsed() < TIMEOUT, "a call does not wait for an unavailable server");
    server.restart().expect("redis-server");
    until_up(&link).await;
    link.close().await;
    assert!(matches!(ping(&link).await, Err(Error::Away)));
}

#[tokio::test]
async fn a_server_that_comes_late_is_found() {
    let mut server = RedisServer::start().expect("redis-server");
    server.kill();
    let link = Link::open(&RedisConfig::new(&server.url(), TIMEOUT), Box::new(drop))
        .expect("a link without a server");
    assert!(!link.is_up());
    assert!(!link.send(async |mut connection| redis::cmd("PING").query_async::<()>(&mut connection).await));
    server.restart().expect("redis-server");
    until_up(&link).await;
}

#[test]
fn a_link_answers_other_executors() {
    // The call is polled by hand, without a tokio runtime, as in a plugin's hook.
    let server = RedisServer::start().expect("redis-server");
    let link = Link::open(&RedisConfig::new(&server.url(), TIMEOUT), Box::new(drop)).expect("a link");
    let mut call = Box::pin(ping(&link));
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    let started = Instant::now();
    let answer = loop {
        if let std::task::Poll::Ready(answer) = call.as_mut().poll(&mut context) {
            break answer;
        }
        assert!(started.elapsed() < Duration::from_secs(5), "no answer");
        std::thread::sleep(Duration::from_millis(1));
    };
    assert_eq!(answer.expect("an answer"), "PONG");
}

#[test]
fn a_url_that_is_none_is_refused_without_being_repeated() {
    let error = Link::open(&RedisConfig::new("http://:secret@host", TIMEOUT), Box::new(drop))
        .err()
        .expect("an error");
    assert!(!error.contains("secret"), "{error}");
}
