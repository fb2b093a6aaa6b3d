//! Tests of the shared cache with a real Redis server.

use std::time::Instant;

use llmux_redis_link::testing::RedisServer;

use super::*;
use crate::{entry::Events, key::testing::key};

const TTL: Duration = Duration::from_secs(60);

fn remote(server: &RedisServer) -> Remote {
    let config = RedisConfig::new(&server.url(), Duration::from_millis(250));
    Remote::with(&config, None, Box::new(drop)).expect("a link")
}

fn entry() -> Entry {
    let mut events = Events::default();
    events.push("e", "{\"b\": 1, \"a\": 2}");
    Entry::Stream(events)
}

/// Waits for an entry: a store is not awaited, so the entry appears a little later.
async fn until_found(remote: &Remote, number: u64) -> Arc<Entry> {
    let started = Instant::now();
    loop {
        if let Ok(Some(entry)) = remote.get(&key(number)).await {
            return entry;
        }
        assert!(started.elapsed() < Duration::from_secs(10), "the entry never came");
        remote.put(&key(number), &entry(), TTL);
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn hosts_share_answers_byte_for_byte() {
    let server = RedisServer::start().expect("redis-server");
    let (one, other) = (remote(&server), remote(&server));
    assert_eq!(one.get(&key(1)).await.expect("an answer"), None);
    one.put(&key(1), &entry(), TTL);
    assert_eq!(*until_found(&other, 1).await, entry());
}

#[tokio::test]
async fn an_entry_expires_in_the_server() {
    let server = RedisServer::start().expect("redis-server");
    let remote = remote(&server);
    remote.put(&key(1), &entry(), Duration::from_millis(100));
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!(remote.get(&key(1)).await.expect("an answer"), None);
}

#[tokio::test]
async fn a_server_that_is_away_makes_misses_until_it_is_back() {
    let mut server = RedisServer::start().expect("redis-server");
    let remote = remote(&server);
    until_found(&remote, 1).await;
    server.kill();
    // The first call finds the connection broken. Later calls are misses at once.
    assert!(remote.get(&key(1)).await.is_err());
    assert_eq!(remote.get(&key(1)).await.expect("a miss"), None);
    remote.put(&key(1), &entry(), TTL);
    server.restart().expect("redis-server");
    until_found(&remote, 1).await;
    remote.close().await;
    assert_eq!(remote.get(&key(1)).await.expect("a miss"), None);
}

#[tokio::test]
async fn what_somebody_else_put_there_is_no_answer() {
    let server = RedisServer::start().expect("redis-server");
    let remote = remote(&server);
    let name = remote.name(&key(1));
    let set = remote.link.call(async move |mut connection| {
        redis::cmd("SET").arg(name).arg("no entry").query_async::<()>(&mut connection).await
    });
    set.await.expect("set");
    assert!(remote.get(&key(1)).await.is_err());
}
