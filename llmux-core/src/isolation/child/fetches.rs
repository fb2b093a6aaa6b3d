//! The HTTP requests of the plugin, on their way through the host (rule I7). The child needs no network for them.
//!
//! `to_host` passes the plugin's requests, and the main thread passes the parts of the responses.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::{HeaderMap, HeaderName, HeaderValue};
use tokio::{
    runtime::Handle,
    sync::mpsc::{self, UnboundedReceiver, UnboundedSender},
};

use super::to_host::ToHost;
use crate::{
    boundary::{
        http::{self as of_plugins, Failed, HttpResponse, Request},
        paused,
    },
    isolation::{
        frame::Kind,
        protocol::{self as message, decode},
    },
};

/// The requests of the plugin.
pub(super) struct Fetches {
    to_host: Arc<ToHost>,
    runtime: Handle,
    next: AtomicU64,
    /// The receivers of the parts of responses. The host's permits bound their number.
    waiting: Mutex<HashMap<u64, UnboundedSender<Bytes>>>,
}

impl Fetches {
    pub(super) fn new(to_host: Arc<ToHost>, runtime: Handle) -> Self {
        Self { to_host, runtime, next: AtomicU64::new(1), waiting: Mutex::default() }
    }

    /// Passes a part of a response.
    pub(super) fn received(&self, number: u64, part: Bytes) {
        if let Some(waiting) = self.waiting().get(&number) {
            let _ = waiting.send(part);
        }
    }

    /// Sends a request through the host. Dropping the future, or the response, ends it.
    pub(super) fn start(self: Arc<Self>, request: &Request) -> BoxFuture<'static, HttpResponse> {
        let number = self.next.fetch_add(1, Relaxed);
        let (sender, parts) = mpsc::unbounded_channel();
        self.waiting().insert(number, sender);
        let guard = Fetching { fetches: self.clone(), number, is_over: false };
        let headers = request.headers.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        let fetch = message::Fetch {
            method: &request.method,
            url: &request.url,
            headers: headers.collect(),
            body: &request.body,
            timeout: u64::try_from(request.timeout.as_millis()).unwrap_or(u64::MAX),
            max_body: request.max_body,
            streams: request.streams,
        };
        let is_sent = self.to_host.request(Kind::Fetch, number, &fetch);
        Box::pin(async move {
            match is_sent {
                true => self.head(guard, parts).await,
                false => {
                    HttpResponse::failed(of_plugins::broken("the request is larger than a message may be"))
                }
            }
        })
    }

    async fn head(&self, mut guard: Fetching, mut parts: UnboundedReceiver<Bytes>) -> HttpResponse {
        let Some(part) = parts.recv().await else { return HttpResponse::failed(lost()) };
        match decode(&part) {
            Ok(message::Fetched::Head { status, headers, body: Some(body) }) => {
                guard.is_over = true;
                HttpResponse::new(status, read(&headers), part.slice_ref(body), None)
            }
            Ok(message::Fetched::Head { status, headers, body: None }) => {
                let (sender, pieces) = mpsc::channel(1);
                let task = paused::spawn(&self.runtime, self.to_host.paused(), guard.pieces(parts, sender));
                HttpResponse::new(status, read(&headers), Bytes::new(), Some(pieces)).with_task(task)
            }
            Ok(message::Fetched::Failed { kind, reason }) => {
                guard.is_over = true;
                HttpResponse::failed(Failed { kind, reason: reason.to_owned() })
            }
            _ => HttpResponse::failed(lost()),
        }
    }

    fn waiting(&self) -> MutexGuard<'_, HashMap<u64, UnboundedSender<Bytes>>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn lost() -> Failed {
    of_plugins::broken("the host cannot send requests now")
}

fn read(pairs: &[(&str, &str)]) -> HeaderMap {
    let read = |(name, value): &(&str, &str)| {
        Some((name.parse::<HeaderName>().ok()?, value.parse::<HeaderValue>().ok()?))
    };
    pairs.iter().filter_map(read).collect()
}

/// A request that is under way. Its drop ends it.
struct Fetching {
    fetches: Arc<Fetches>,
    number: u64,
    is_over: bool,
}

impl Fetching {
    /// Passes the pieces of a body to the plugin, and permits the host another for each that the plugin took.
    async fn pieces(
        mut self,
        mut parts: UnboundedReceiver<Bytes>,
        plugin: mpsc::Sender<Result<Bytes, Failed>>,
    ) {
        while let Some(part) = parts.recv().await {
            let piece = match decode(&part) {
                Ok(message::Fetched::Piece(piece)) => Ok(part.slice_ref(piece)),
                Ok(message::Fetched::Failed { kind, reason }) => {
                    Err(Failed { kind, reason: reason.to_owned() })
                }
                Ok(message::Fetched::End) => {
                    self.is_over = true;
                    return;
                }
                _ => Err(lost()),
            };
            self.is_over = piece.is_err();
            if plugin.send(piece).await.is_err() || self.is_over {
                return;
            }
            self.fetches.to_host.tell(Kind::More, self.number);
        }
    }
}

impl Drop for Fetching {
    fn drop(&mut self) {
        self.fetches.waiting().remove(&self.number);
        if !self.is_over {
            self.fetches.to_host.tell(Kind::DropFetch, self.number);
        }
    }
}
