//! The body of a response, which returns its connection to the pool when it has ended.
//!
//! `exchange` makes it, and `openai` reads it. If it is dropped before its end, its connection closes (HTTP/1.1) or its
//! stream is reset (HTTP/2).

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, Waker, ready},
};

use bytes::Bytes;
use futures_util::Stream;
use http_body::{Body as _, Frame};
use hyper::body::Incoming;

use super::{http1::Http1, http2::Place, pool::Pool};

/// The body of a response.
pub(in crate::provider) struct Body {
    incoming: Incoming,
    /// The connection, and the pool that it returns to. `None` once it has returned, and for HTTP/2.
    lease: Option<(Arc<Pool>, Http1)>,
    /// The place of the request on a connection of HTTP/2.
    _place: Option<Place>,
}

impl Body {
    /// The body of a response of HTTP/1.1, with its connection and the pool that the connection returns to.
    pub(super) fn leased(incoming: Incoming, lease: (Arc<Pool>, Http1)) -> Self {
        Self { incoming, lease: Some(lease), _place: None }
    }

    /// The body of a response on a shared connection of HTTP/2.
    pub(super) fn shared(incoming: Incoming, place: Place) -> Self {
        Self { incoming, lease: None, _place: Some(place) }
    }

    /// Returns the length that the head announced; 0 if it announced none.
    pub(in crate::provider) fn announced(&self) -> u64 {
        self.incoming.size_hint().exact().unwrap_or(0)
    }

    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let mut incoming = Pin::new(&mut self.incoming);
        let Some((_, connection)) = &mut self.lease else { return incoming.poll_frame(cx) };
        // Only the connection, which runs here, makes a frame ready. So a frame wakes nobody.
        let mut nobody = Context::from_waker(Waker::noop());
        if let Poll::Ready(frame) = incoming.as_mut().poll_frame(&mut nobody) {
            return Poll::Ready(frame);
        }
        connection.run(cx);
        incoming.poll_frame(&mut nobody)
    }
}

impl Stream for Body {
    type Item = Result<Bytes, hyper::Error>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        loop {
            return Poll::Ready(match ready!(self.poll_frame(cx)) {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(bytes) => Some(Ok(bytes)),
                    // Trailers.
                    Err(_) => continue,
                },
                Some(Err(error)) => {
                    self.lease = None;
                    Some(Err(error))
                }
                None => {
                    if let Some((pool, connection)) = self.lease.take() {
                        pool.put(connection);
                    }
                    None
                }
            });
        }
    }
}
