//! The HTTP requests of a child, which the host sends (rule I7). They are bounded, because a child may ask for anything.
//!
//! `connection` passes the child's frames. Pieces of a body are sent as fast as the plugin takes them: each needs a permit,
//! and the child gives another for each piece that the plugin took.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{sync::mpsc, task::AbortHandle};

use super::outgoing::Outgoing;
use crate::{
    boundary::{
        host::HostShared,
        http::{self, Failed, HttpResponse, Request},
    },
    isolation::{
        frame::Kind,
        protocol::{self as message, decode},
    },
};

/// Largest number of requests of one child at once.
const MAX_FETCHES: usize = 256;
/// Number of pieces of a body that are on their way to the plugin.
const PIECES: usize = 4;

/// The requests of one child.
pub(super) struct Fetches {
    shared: Arc<HostShared>,
    outgoing: Arc<Outgoing>,
    running: Mutex<HashMap<u64, Running>>,
}

struct Running {
    task: AbortHandle,
    permits: mpsc::Sender<()>,
}

impl Fetches {
    pub(super) fn new(shared: Arc<HostShared>, outgoing: Arc<Outgoing>) -> Self {
        Self { shared, outgoing, running: Mutex::default() }
    }

    /// Starts a request.
    ///
    /// # Errors
    ///
    /// If the message is malformed, or its number is that of another request.
    pub(super) fn start(self: &Arc<Self>, number: u64, bytes: &[u8]) -> Result<(), &'static str> {
        let fetch: message::Fetch<'_> = decode(bytes).map_err(|_| "sent a malformed message")?;
        let mut running = self.running();
        if running.contains_key(&number) {
            return Err("used the number of a request twice");
        }
        if running.len() >= MAX_FETCHES {
            let failed =
                http::broken(format!("an isolated plugin has at most {MAX_FETCHES} requests at once"));
            self.send(number, &as_message(&failed));
            return Ok(());
        }
        let (permits, permitted) = mpsc::channel(PIECES);
        for _ in 0..PIECES {
            let _ = permits.try_send(());
        }
        let (fetches, request) = (self.clone(), request(&fetch));
        // The task removes itself, after the lock is released.
        let task = self.shared.runtime.spawn(async move {
            fetches.run(number, request, permitted).await;
            fetches.running().remove(&number);
        });
        running.insert(number, Running { task: task.abort_handle(), permits });
        Ok(())
    }

    async fn run(&self, number: u64, request: Request, mut permitted: mpsc::Receiver<()>) {
        let Some(client) = self.shared.http.clone() else { return };
        let mut response = http::start(&self.shared.runtime, client, request).await;
        let is_sent = match response.failure() {
            Some(failed) => self.send(number, &as_message(&failed)),
            None => self.send(number, &head(&response)),
        };
        let mut goes_on = is_sent && response.is_in_pieces();
        while goes_on && permitted.recv().await.is_some() {
            let (is_sent, is_last) = match response.take_piece().await {
                Some(Ok(piece)) => (self.send(number, &message::Fetched::Piece(&piece)), false),
                Some(Err(failed)) => (self.send(number, &as_message(&failed)), true),
                None => (self.send(number, &message::Fetched::End), true),
            };
            goes_on = is_sent && !is_last;
        }
    }

    /// Sends a part of a response. Returns false if the child does not read.
    fn send(&self, number: u64, part: &message::Fetched<'_>) -> bool {
        self.outgoing.send(Kind::Fetched, number, part, false).is_ok()
    }

    /// Permits one more piece of a body.
    pub(super) fn more(&self, number: u64) {
        if let Some(running) = self.running().get(&number) {
            // A child that permits more than it was sent gets no more.
            let _ = running.permits.try_send(());
        }
    }

    /// Ends a request.
    pub(super) fn end(&self, number: u64) {
        if let Some(running) = self.running().remove(&number) {
            running.task.abort();
        }
    }

    /// Ends all requests.
    pub(super) fn close(&self) {
        self.running().drain().for_each(|(_, running)| running.task.abort());
    }

    fn running(&self) -> MutexGuard<'_, HashMap<u64, Running>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Returns the head of a response, with the body if it is whole.
fn head(response: &HttpResponse) -> message::Fetched<'_> {
    // A plugin cannot read other values.
    let headers =
        response.headers.iter().filter_map(|(name, value)| Some((name.as_str(), value.to_str().ok()?)));
    message::Fetched::Head {
        status: response.status,
        headers: headers.collect(),
        body: (!response.is_in_pieces()).then_some(&*response.body),
    }
}

fn as_message(failed: &Failed) -> message::Fetched<'_> {
    message::Fetched::Failed { kind: failed.kind, reason: &failed.reason }
}

fn request(fetch: &message::Fetch<'_>) -> Request {
    let headers = fetch.headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    Request {
        method: fetch.method.to_owned(),
        url: fetch.url.to_owned(),
        headers: headers.collect(),
        body: fetch.body.to_vec(),
        timeout: Duration::from_millis(fetch.timeout),
        max_body: fetch.max_body,
        streams: fetch.streams,
    }
}

#[cfg(test)]
mod tests {
    use tokio::{runtime::Handle, time::Instant};

    use super::*;
    use crate::isolation::frame;

    #[tokio::test]
    async fn i7_the_requests_of_a_child_are_bounded_and_have_different_numbers() {
        let shared = HostShared {
            runtime: Handle::current(),
            http: None,
            metrics: Arc::default(),
            epoch: Instant::now(),
            mirror: None,
        };
        let outgoing = Arc::<Outgoing>::default();
        let fetches = Arc::new(Fetches::new(Arc::new(shared), outgoing.clone()));
        let fetch = message::Fetch {
            method: "GET",
            url: "http://127.0.0.1/",
            headers: Vec::new(),
            body: b"",
            timeout: 1,
            max_body: 1,
            streams: false,
        };
        let mut frame = Vec::new();
        frame::write(&mut frame, Kind::Fetch, 1, &fetch).expect("small");
        let message = frame::take(&mut frame[..].into()).expect("a frame").expect("as a whole").message;
        // The tasks of this runtime run when this one waits.
        for number in 0..MAX_FETCHES as u64 {
            assert_eq!(fetches.start(number, &message), Ok(()));
        }
        assert_eq!(fetches.start(0, &message), Err("used the number of a request twice"));
        assert!(outgoing.is_empty(), "none is refused");
        assert_eq!(fetches.start(1000, &message), Ok(()));
        assert!(!outgoing.is_empty(), "one more is refused");
        assert_eq!(fetches.running().len(), MAX_FETCHES);
        assert_eq!(fetches.start(1001, b"\xff"), Err("sent a malformed message"));
        fetches.end(0);
        assert_eq!(fetches.start(1002, &message), Ok(()));
        assert_eq!(fetches.running().len(), MAX_FETCHES);
        fetches.close();
        assert_eq!(fetches.running().len(), 0);
    }
}
