//! The load generator: kept connections over HTTP/1.1, each of which sends its next request when the last response has
//! ended.
//!
//! `run` and `measure` call it, on a runtime of one thread. It writes prepared bytes and reads with `answer`, so that it costs
//! about as much as `wrk`. Every response is checked. Deliberately absent: everything that is measured outside of this
//! process.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use bytes::Bytes;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    task::JoinSet,
    time::{Instant, sleep, timeout},
};

use crate::{
    answer::Answer,
    exchange::{Kind, PAUSE, now, send_times},
};

/// Largest number of requests of one connection.
const MAX_REQUESTS: u64 = 1_000_000;

/// Time that the last responses of a load have, after the time of the load.
const GRACE: Duration = Duration::from_secs(30);

/// Bytes that one read takes at most.
const READ_BYTES: usize = 64 << 10;

/// Characters of a wrong response that an error quotes.
const MAX_QUOTE: usize = 200;

/// A load.
#[derive(Clone, Debug)]
pub(crate) struct Load {
    /// Address of the program under test.
    pub(crate) address: SocketAddr,
    /// A whole request, head and body.
    pub(crate) request: Bytes,
    /// Kind of response that the request asks for.
    pub(crate) kind: Kind,
    /// Number of connections.
    pub(crate) connections: usize,
    /// Time after which no further request is sent.
    pub(crate) time: Duration,
    /// Number of requests of each connection after which it sends no further one.
    pub(crate) requests_each: u64,
    /// The answer must come from a cache, or must not; `None` accepts both.
    pub(crate) is_hit: Option<bool>,
}

/// The result of a load.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    /// Time from the first connection to the end of the last response.
    pub(crate) elapsed: Duration,
    /// Time of each request, in nanoseconds.
    pub(crate) latencies: Vec<u64>,
    /// Time of each event from the provider to this client, in nanoseconds; only for slow streams.
    pub(crate) delays: Vec<u64>,
}

impl Load {
    /// A load that is bounded by its time alone.
    pub(crate) fn of_time(self, time: Duration) -> Self {
        Self { time, requests_each: MAX_REQUESTS, ..self }
    }

    /// A load that is bounded by its number of requests, and by the longest time of a load.
    pub(crate) fn of_requests(self, requests_each: u64) -> Self {
        Self { time: GRACE, requests_each, ..self }
    }

    /// Runs the load to its end.
    ///
    /// # Errors
    ///
    /// If a connection fails, a response is wrong, or a response does not end in time.
    pub(crate) async fn run(self) -> Result<Outcome, String> {
        let load = Arc::new(self);
        let start = Instant::now();
        let limit = load.time + GRACE;
        let mut tasks = JoinSet::new();
        for place in 0..load.connections {
            tasks.spawn(connection(Arc::clone(&load), place));
        }
        let mut outcome = Outcome::default();
        let end = async {
            while let Some(ended) = tasks.join_next().await {
                let (latencies, delays) = ended.map_err(|error| error.to_string())??;
                outcome.latencies.extend(latencies);
                outcome.delays.extend(delays);
            }
            Ok(())
        };
        timeout(limit, end)
            .await
            .map_err(|_| format!("a response did not end within {} s", limit.as_secs()))
            .flatten()?;
        outcome.elapsed = start.elapsed();
        Ok(outcome)
    }

    /// Checks a complete response.
    fn check(&self, answer: &Answer) -> Result<(), String> {
        let quote = || {
            let text = String::from_utf8_lossy(answer.body());
            text.chars().take(MAX_QUOTE).collect::<String>()
        };
        if answer.status() != 200 {
            return Err(format!("the status is {}, not 200: {}", answer.status(), quote()));
        }
        if !self.kind.is_whole(answer.body()) {
            return Err(format!("the response is not whole: {}", quote()));
        }
        match self.is_hit {
            Some(true) if !answer.is_hit() => Err("the response does not come from the cache".to_owned()),
            Some(false) if answer.is_hit() => Err("the response comes from a cache".to_owned()),
            _ => Ok(()),
        }
    }
}

/// Sends requests on one connection. Returns the latencies and the delays.
async fn connection(load: Arc<Load>, place: usize) -> Result<(Vec<u64>, Vec<u64>), String> {
    let end = Instant::now() + load.time;
    if load.kind == Kind::SlowStream {
        // Streams that begin together would send their events together, and the events would wait for each other.
        sleep(PAUSE * place as u32 / load.connections as u32).await;
    }
    let failed = |what: &str, error: std::io::Error| format!("cannot {what} {}: {error}", load.address);
    let mut stream = TcpStream::connect(load.address).await.map_err(|error| failed("connect to", error))?;
    stream.set_nodelay(true).map_err(|error| failed("connect to", error))?;
    let mut buffer = vec![0; READ_BYTES];
    let mut answer = Answer::default();
    let (mut latencies, mut delays) = (Vec::new(), Vec::new());
    let mut start = Instant::now();
    while start < end && (latencies.len() as u64) < load.requests_each {
        answer.clear();
        stream.write_all(&load.request).await.map_err(|error| failed("write to", error))?;
        let mut timed = 0;
        loop {
            let read = stream.read(&mut buffer).await.map_err(|error| failed("read from", error))?;
            if read == 0 {
                return Err(format!("{} closed a connection before the response ended", load.address));
            }
            let is_complete = answer.feed(&buffer[..read])?;
            if load.kind == Kind::SlowStream {
                let arrived = now();
                timed += collect(&answer.body()[timed..], arrived, &mut delays);
            }
            if is_complete {
                break;
            }
        }
        load.check(&answer)?;
        let ended = Instant::now();
        latencies.push(nanos(ended - start));
        start = ended;
    }
    Ok((latencies, delays))
}

/// Adds the delays of all complete events. Returns the length of these events.
fn collect(body: &[u8], arrived: u64, delays: &mut Vec<u64>) -> usize {
    let length = memchr::memmem::rfind(body, b"\n\n").map_or(0, |at| at + 2);
    delays.extend(send_times(&body[..length]).map(|sent| arrived.saturating_sub(sent)));
    length
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exchange::{COMPLETION, timed_event};

    #[test]
    fn a_response_must_be_whole_and_come_from_where_the_load_expects() {
        let load = |is_hit| Load {
            address: ([127, 0, 0, 1], 1).into(),
            request: Bytes::new(),
            kind: Kind::Plain,
            connections: 1,
            time: Duration::ZERO,
            requests_each: 1,
            is_hit,
        };
        let check = |is_hit, status, cache, body: &str| {
            let mut answer = Answer::default();
            let length = body.len();
            let response = format!(
                "HTTP/1.1 {status} Text\r\nx-cache: {cache}\r\ncontent-length: {length}\r\n\r\n{body}"
            );
            assert_eq!(answer.feed(response.as_bytes()), Ok(true));
            load(is_hit).check(&answer).err().unwrap_or_default()
        };
        assert_eq!(check(Some(false), 200, "miss", COMPLETION), "");
        assert_eq!(check(Some(true), 200, "hit", COMPLETION), "");
        assert_eq!(check(None, 200, "hit", COMPLETION), "");
        assert_eq!(check(Some(false), 503, "miss", "too busy"), "the status is 503, not 200: too busy");
        assert_eq!(check(Some(false), 200, "miss", "{}"), "the response is not whole: {}");
        assert_eq!(check(Some(true), 200, "miss", COMPLETION), "the response does not come from the cache");
        assert_eq!(check(Some(false), 200, "hit", COMPLETION), "the response comes from a cache");
    }

    #[test]
    fn an_event_counts_once_and_when_it_is_complete() {
        let body = [timed_event(0, 100), timed_event(1, 150)].concat();
        let mut delays = Vec::new();
        let first = timed_event(0, 100).len();
        assert_eq!(collect(&body.as_bytes()[..body.len() - 1], 200, &mut delays), first);
        assert_eq!(collect(&body.as_bytes()[first..], 200, &mut delays), body.len() - first);
        assert_eq!(delays, [100, 50]);
    }
}
