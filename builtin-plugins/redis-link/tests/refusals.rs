//! The log of a server that refuses commands. The only test of its program, because it reads the log of the whole
//! program.

use std::{
    io,
    sync::{Arc, Mutex},
    time::Duration,
};

use llmux_redis_link::{Error, Link, RedisConfig, redis, testing::RedisServer};

/// The log, as text.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().expect("no writer panics").extend(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

async fn command(link: &Link, words: &[&str]) -> Result<redis::Value, Error> {
    let mut command = redis::cmd(words[0]);
    command.arg(&words[1..]);
    link.call(async move |mut connection| command.query_async(&mut connection).await).await
}

#[tokio::test]
async fn each_kind_of_refusal_is_told_once_and_the_connection_stays() {
    let log = Log::default();
    let writer = log.clone();
    tracing_subscriber::fmt().with_ansi(false).with_writer(move || writer.clone()).init();
    let server = RedisServer::start().expect("redis-server");
    let link =
        Link::open(&RedisConfig::new(&server.url(), Duration::from_secs(5)), Box::new(drop)).expect("a link");
    command(&link, &["SET", "text", "a"]).await.expect("set");
    for _ in 0..3 {
        assert!(matches!(command(&link, &["LPUSH", "text", "b"]).await, Err(Error::Failed(_))));
        command(&link, &["PING"]).await.expect("the connection still works");
    }
    command(&link, &["CONFIG", "SET", "maxmemory", "1"]).await.expect("set");
    for _ in 0..3 {
        assert!(matches!(command(&link, &["SET", "text", "c"]).await, Err(Error::Failed(_))));
    }
    let text = String::from_utf8(log.0.lock().expect("no writer panics").clone()).expect("text");
    let told: Vec<&str> = text.lines().filter(|line| line.contains("WARN")).collect();
    assert!(told.len() == 2 && told[0].contains("WRONGTYPE") && told[1].contains("OOM"), "{text}");
}
