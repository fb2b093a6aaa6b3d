//! A connection of HTTP/1.1, which has no task of its own: whoever waits for its response, or for the response's body, runs
//! it. So a response costs no change of tasks, and what has arrived together is read in one turn.
//!
//! `pool` keeps it between two requests, `exchange` sends on it, and `body` reads from it.

use std::{
    future::poll_fn,
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Waker},
};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use hyper::{
    body::Incoming,
    client::conn::{TrySendError, http1},
};
use tokio::task::unconstrained;

use super::{
    activity::Activity,
    dial::{Dialed, Stream},
};

/// The future that reads and writes.
type Running = Pin<Box<http1::Connection<Stream, Full<Bytes>>>>;

/// A connection of HTTP/1.1.
pub(super) struct Http1 {
    sender: http1::SendRequest<Full<Bytes>>,
    /// `None` once it has ended.
    connection: Option<Running>,
    activity: Arc<Activity>,
}

impl Http1 {
    /// Prepares a connection that was opened.
    pub(super) async fn new(dialed: Dialed) -> Result<Self, hyper::Error> {
        let (sender, connection) = http1::Builder::new().handshake(dialed.io).await?;
        Ok(Self { sender, connection: Some(Box::pin(connection)), activity: dialed.activity })
    }

    pub(super) fn activity(&self) -> &Arc<Activity> {
        &self.activity
    }

    /// Sends a request. Ready when the head of its response is there.
    pub(super) async fn send(
        &mut self,
        request: Request<Full<Bytes>>,
    ) -> Result<Response<Incoming>, TrySendError<Request<Full<Bytes>>>> {
        let mut sent = pin!(unconstrained(self.sender.try_send_request(request)));
        poll_fn(|cx| {
            run(&mut self.connection, cx);
            // Only the connection makes it ready, so it wakes nobody.
            sent.as_mut().poll(&mut Context::from_waker(Waker::noop()))
        })
        .await
    }

    /// Reads and writes as much as is possible now.
    pub(super) fn run(&mut self, cx: &mut Context<'_>) {
        run(&mut self.connection, cx);
    }

    /// Returns true if the connection is open and has ended its last exchange, as far as it is known now.
    pub(super) fn is_ready(&mut self) -> bool {
        self.run(&mut Context::from_waker(Waker::noop()));
        self.connection.is_some() && self.sender.is_ready()
    }
}

fn run(connection: &mut Option<Running>, cx: &mut Context<'_>) {
    // An error reaches the exchange through its response, or through the response's body.
    if let Some(open) = connection
        && open.as_mut().poll(cx).is_ready()
    {
        *connection = None;
    }
}
