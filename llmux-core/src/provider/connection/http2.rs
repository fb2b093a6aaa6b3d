//! A connection of HTTP/2, which requests share. A task of its own runs it.
//!
//! `pool` keeps it, `exchange` sends on it, and `body` holds the place of a request on it.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use hyper::{
    body::Incoming,
    client::conn::{TrySendError, http2},
};
use hyper_util::rt::{TokioExecutor, TokioTimer};

use super::{activity::Activity, dial::Dialed};

/// Largest number of requests at once on a connection of HTTP/2. Providers allow about a hundred streams, and a further
/// request would wait in the connection until one of them ends.
const STREAMS: usize = 100;

/// Silence of a connection of HTTP/2 after which it is asked for a sign of life, while it has requests.
const PING: Duration = Duration::from_secs(30);
/// Time limit for that sign. Without it, the requests on a connection whose network is gone would wait until the system gives
/// the connection up, which takes a quarter of an hour.
const PONG: Duration = Duration::from_secs(20);

/// A connection of HTTP/2.
pub(super) struct Http2 {
    sender: http2::SendRequest<Full<Bytes>>,
    activity: Arc<Activity>,
    /// Each request holds a clone.
    places: Arc<()>,
}

/// The place of a request on a connection of HTTP/2. It is free again when this is dropped.
pub(super) struct Place {
    sender: http2::SendRequest<Full<Bytes>>,
    activity: Arc<Activity>,
    _of: Arc<()>,
}

impl Http2 {
    /// Prepares a connection that was opened, and runs it.
    pub(super) async fn new(dialed: Dialed) -> Result<Self, hyper::Error> {
        let (sender, connection) = handshake(dialed.io).await?;
        tokio::spawn(connection);
        Ok(Self { sender, activity: dialed.activity, places: Arc::default() })
    }

    /// Returns true if the connection is open.
    pub(super) fn is_open(&self) -> bool {
        self.sender.is_ready()
    }

    pub(super) fn is_full(&self) -> bool {
        Arc::strong_count(&self.places) > STREAMS
    }

    /// Returns a place for a request.
    pub(super) fn place(&self) -> Place {
        Place { sender: self.sender.clone(), activity: self.activity.clone(), _of: self.places.clone() }
    }
}

impl Place {
    pub(super) fn activity(&self) -> &Arc<Activity> {
        &self.activity
    }

    /// Sends a request. Ready when the head of its response is there.
    pub(super) async fn send(
        &mut self,
        request: Request<Full<Bytes>>,
    ) -> Result<Response<Incoming>, TrySendError<Request<Full<Bytes>>>> {
        self.sender.try_send_request(request).await
    }
}

/// Begins HTTP/2.
async fn handshake<T>(
    io: T,
) -> hyper::Result<(http2::SendRequest<Full<Bytes>>, http2::Connection<T, Full<Bytes>, TokioExecutor>)>
where
    T: hyper::rt::Read + hyper::rt::Write + Send + Unpin + 'static,
{
    let mut builder = http2::Builder::new(TokioExecutor::new());
    builder.timer(TokioTimer::new()).keep_alive_interval(PING).keep_alive_timeout(PONG);
    builder.handshake(io).await
}

#[cfg(test)]
pub(super) mod tests {
    use std::{convert::Infallible, future::pending};

    use hyper::{server, service::service_fn};
    use hyper_util::rt::TokioIo;
    use tokio::{
        io::{DuplexStream, duplex},
        sync::{mpsc, oneshot},
        time::timeout,
    };

    use super::*;

    /// A connection to a provider that reads nothing. Its side of the connection is returned, too.
    pub(in super::super) async fn silent() -> (Http2, DuplexStream) {
        let (client, provider) = duplex(1 << 16);
        let (sender, connection) = handshake(TokioIo::new(client)).await.unwrap();
        tokio::spawn(connection);
        (Http2 { sender, activity: Arc::new(Activity::new()), places: Arc::default() }, provider)
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_of_http2_whose_network_is_gone_ends() {
        let (connection, _provider) = silent().await;
        let mut request = Request::new(Full::new(Bytes::new()));
        *request.uri_mut() = "http://provider.example/".parse().unwrap();
        let mut place = connection.place();
        let answer = timeout(Duration::from_secs(3600), place.send(request)).await;
        assert!(answer.expect("the connection ends").is_err());
        assert!(!connection.is_open(), "no further request is sent on it");
    }

    #[tokio::test]
    async fn b3_a_request_that_is_dropped_resets_its_stream_and_the_connection_stays() {
        let (client, provider) = duplex(1 << 16);
        let (sender, connection) = handshake(TokioIo::new(client)).await.unwrap();
        tokio::spawn(connection);
        let connection = Http2 { sender, activity: Arc::new(Activity::new()), places: Arc::default() };
        let (arrived, mut arrivals) = mpsc::unbounded_channel();
        let service = service_fn(move |_| {
            let (arrived, held) = (arrived.clone(), oneshot::channel::<()>());
            async move {
                let (_held, reset) = held;
                arrived.send(reset).unwrap();
                // The server drops this when the stream is reset.
                pending::<Result<Response<Full<Bytes>>, Infallible>>().await
            }
        });
        let server = server::conn::http2::Builder::new(TokioExecutor::new());
        tokio::spawn(server.serve_connection(TokioIo::new(provider), service));
        let mut request = Request::new(Full::new(Bytes::new()));
        *request.uri_mut() = "http://provider.example/".parse().unwrap();
        let mut place = connection.place();
        let reset = tokio::select! {
            _ = place.send(request) => panic!("the provider does not answer"),
            reset = arrivals.recv() => reset.unwrap(),
        };
        let reset = timeout(Duration::from_secs(10), reset).await.expect("the stream is reset");
        assert!(reset.is_err() && connection.is_open());
    }
}
