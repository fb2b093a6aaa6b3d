//! The mock provider: a server on loopback that answers every request at once, or with a slow stream.
//!
//! The benchmark starts itself with the hidden subcommand `upstream`, so that the provider has a process and one thread of
//! its own. Deliberately absent: errors, other endpoints, and parsing of the requests.

use std::{
    convert::Infallible,
    io::Read,
    net::{Ipv4Addr, SocketAddr},
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http_body_util::{BodyExt, Either, Full};
use hyper::{
    Request, Response,
    body::{Body, Frame, Incoming},
    header::{CONTENT_TYPE, HeaderValue},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use tokio::{
    net::TcpListener,
    time::{Interval, MissedTickBehavior, interval_at},
};

use crate::exchange::{COMPLETION, EVENTS, HEAD_BYTES, Kind, PAUSE, event, now, timed_event};

/// The events of a stream. Each is a frame, as a provider sends them.
struct Events {
    place: usize,
    /// The pause before each event; `None` for a stream without pauses.
    pause: Option<Interval>,
}

impl Body for Events {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if self.place > EVENTS {
            return Poll::Ready(None);
        }
        let event = match &mut self.pause {
            Some(pause) => {
                ready!(pause.poll_tick(cx));
                Bytes::from(timed_event(self.place, now()))
            }
            None => Bytes::from_static(event(self.place).as_bytes()),
        };
        self.place += 1;
        Poll::Ready(Some(Ok(Frame::data(event))))
    }

    fn is_end_stream(&self) -> bool {
        self.place > EVENTS
    }
}

impl Events {
    fn new(is_slow: bool) -> Self {
        let pause = is_slow.then(|| {
            let mut pause = interval_at(tokio::time::Instant::now() + PAUSE, PAUSE);
            pause.set_missed_tick_behavior(MissedTickBehavior::Delay);
            pause
        });
        Self { place: 0, pause }
    }
}

type Reply = Response<Either<Full<Bytes>, Events>>;

async fn answer(mut request: Request<Incoming>) -> Result<Reply, hyper::Error> {
    let mut head = Vec::with_capacity(HEAD_BYTES);
    while let Some(frame) = request.body_mut().frame().await {
        if let Some(data) = frame?.data_ref() {
            head.extend_from_slice(&data[..data.len().min(HEAD_BYTES - head.len())]);
        }
    }
    let (body, kind) = match Kind::of_request(&head) {
        Kind::Plain => (Either::Left(Full::from(COMPLETION)), "application/json"),
        Kind::Stream => (Either::Right(Events::new(false)), "text/event-stream"),
        Kind::SlowStream => (Either::Right(Events::new(true)), "text/event-stream"),
    };
    let mut reply = Response::new(body);
    reply.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    Ok(reply)
}

/// Serves on a port of loopback until standard input ends.
///
/// # Errors
///
/// If the port cannot be opened.
pub(crate) async fn serve(port: u16) -> Result<(), String> {
    // Standard input is a pipe from the benchmark, which ends with it, also if the benchmark is killed.
    std::thread::spawn(|| {
        let _ = std::io::stdin().read(&mut [0]);
        std::process::exit(0);
    });
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let listener = TcpListener::bind(address).await;
    let listener = listener.map_err(|error| format!("cannot listen on {address}: {error}"))?;
    loop {
        // A client that has gone before it was accepted.
        let Ok((stream, _)) = listener.accept().await else { continue };
        let _ = stream.set_nodelay(true);
        // The end of a connection, of either side, needs no word.
        tokio::spawn(
            http1::Builder::new()
                .pipeline_flush(true)
                .serve_connection(TokioIo::new(stream), service_fn(answer)),
        );
    }
}
