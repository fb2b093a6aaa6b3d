//! The early head of a stream that is silent: it keeps balancers and clients from closing a connection on which nothing
//! arrives (rule S7).
//!
//! `stream` waits for providers with it. One value serves all attempts of a request: a head is sent once. Deliberately
//! absent: the comment that follows the head, which the server writes.

use std::{
    future::{Future, pending},
    pin::pin,
    time::Duration,
};

use futures_util::future::{Either, select};
use http::{HeaderName, HeaderValue};
use tokio::{
    sync::mpsc,
    time::{Instant, sleep, sleep_until},
};

use super::{head::Head, stream_item::StreamItem};
use crate::provider::Accepted;

/// The times after which a request's head is sent early, and whether it was.
#[derive(Default)]
pub(crate) struct EarlyHead {
    /// Time at which the head is sent in any case.
    at: Option<Instant>,
    /// Silence after which the head is sent if a provider has accepted the request.
    silence: Option<Duration>,
    accepted: Accepted,
    /// The headers of the head that was sent early.
    sent: Option<Vec<(HeaderName, HeaderValue)>>,
}

impl EarlyHead {
    /// The early head of a request that arrives now. `None` turns a time off.
    pub(crate) fn new(after: Option<Duration>, silence: Option<Duration>) -> Self {
        let at = after.and_then(|after| Instant::now().checked_add(after));
        Self { at, silence, ..Self::default() }
    }

    /// Returns the mark that providers set; `None` if it would change nothing.
    pub(super) fn accepted(&self) -> Option<Accepted> {
        self.waits().then(|| self.accepted.clone())
    }

    /// Returns true if the head may still be sent early.
    pub(super) fn waits(&self) -> bool {
        self.sent.is_none() && (self.at.is_some() || self.silence.is_some())
    }

    /// Marks that a provider has accepted the request.
    pub(super) fn accept(&self) {
        if self.waits() {
            self.accepted.set();
        }
    }

    /// Returns the number of headers that are not in the head that was sent.
    pub(super) fn missing(&self, headers: &[(HeaderName, HeaderValue)]) -> u64 {
        let Some(sent) = &self.sent else { return 0 };
        headers.iter().filter(|header| !sent.contains(header)).count() as u64
    }

    /// Waits for a future, and sends the head meanwhile if it is due.
    pub(super) async fn wait<T>(
        &mut self,
        reader: &mpsc::Sender<StreamItem>,
        head: Head,
        future: impl Future<Output = T>,
    ) -> T {
        let mut future = pin!(future);
        if let Either::Left((output, _)) = select(future.as_mut(), pin!(self.due())).await {
            return output;
        }
        self.sent = Some(head.headers.clone());
        // Nothing was sent, so the channel has room. A reader that has left is noticed with the first chunk.
        let _ = reader.try_send(StreamItem::Start(head));
        future.await
    }

    /// Ready when the head is due.
    async fn due(&self) {
        if self.sent.is_some() {
            return pending().await;
        }
        let at = async {
            match self.at {
                Some(at) => sleep_until(at).await,
                None => pending().await,
            }
        };
        let silent = async {
            match self.silence {
                Some(silence) => {
                    self.accepted.wait().await;
                    sleep(silence).await;
                }
                None => pending().await,
            }
        };
        select(pin!(at), pin!(silent)).await;
    }
}
