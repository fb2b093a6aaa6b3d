//! Connections: accepts them, distinguishes HTTP/1.1 from HTTP/2, and ends them at a shutdown.
//!
//! `serve` calls [`run`] for each listener. It replaces axum's own `serve`, which has no limit on the time until a
//! request's head is complete (also before the protocol is known) and no drain with a deadline. Deliberately absent:
//! compression, TLS, and the routes.

use std::{
    net::{IpAddr, SocketAddr},
    pin::pin,
    sync::Arc,
    time::Duration,
};

use arc_swap::ArcSwap;
use axum::Router;
use hyper::{
    body::Incoming,
    server::conn::{http1, http2},
    service::{Service, service_fn},
};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    server::graceful::GracefulConnection,
    service::TowerToHyperService,
};
use llmux_terminal::{CliError, Result};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpSocket, TcpStream, lookup_host},
    sync::{Semaphore, mpsc, watch},
    time::{Instant, sleep, timeout_at},
};

use super::{
    activity::{Activity, Counted, Streams},
    client_address::{Peer, is_trusted},
    connections::Addresses,
    progress::{Head, Progress},
};
use crate::config::server::Server;

/// Phase of the program, from its start to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    Running,
    /// `/readyz` says 503; connections are still accepted.
    Leaving,
    /// No new connections are accepted; open connections may end.
    Draining,
    /// Requests in flight end with an error.
    Cutting,
    /// Connections are dropped.
    Over,
}

/// Shortest time between two warnings about connections.
const WARN_EVERY: Duration = Duration::from_secs(1);

/// Listens on an address, HOST:PORT.
///
/// # Errors
///
/// Names the address, the cause, and the flag and the member of the configuration that choose another address.
pub(crate) async fn bind(address: &str, flag: &str, key: &str) -> Result<TcpListener> {
    let failed = |why: &dyn std::fmt::Display| {
        CliError::new(format!(
            "cannot listen on {address}: {why}; choose another with {flag} or [server] {key}"
        ))
    };
    let addresses = lookup_host(address).await.map_err(|error| match address.rsplit_once(':') {
        Some((host, _)) if host.parse::<IpAddr>().is_err() => failed(&error),
        _ => failed(&"it is not an address; an address is HOST:PORT, such as 127.0.0.1:8080"),
    })?;
    let mut last = failed(&"the name has no address");
    for address in addresses {
        match listen(address) {
            Ok(listener) => return Ok(listener),
            Err(error) => {
                last = match error.kind() {
                    std::io::ErrorKind::AddrInUse => failed(&"the address is in use"),
                    std::io::ErrorKind::AddrNotAvailable => failed(&"this machine has no such address"),
                    std::io::ErrorKind::PermissionDenied => failed(&"ports below 1024 need more privileges"),
                    _ => failed(&error),
                }
            }
        }
    }
    Err(last)
}

/// Listens with the longest queue that the system allows: a burst of new connections waits there.
fn listen(address: SocketAddr) -> std::io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    // On Windows, the option lets other programs take the address.
    #[cfg(not(windows))]
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    // The system replaces it by its maximum, such as Linux's `net.core.somaxconn`.
    socket.listen(i32::MAX as u32)
}

/// Returns the listener's address.
pub(crate) fn address(listener: &TcpListener) -> Result<SocketAddr> {
    listener.local_addr().map_err(CliError::new)
}

/// Serves until the phase is [`Phase::Draining`], with at most `max` connections; others wait in the system's queue. Each
/// connection holds `alive`, so that the receiver of `alive` closes when the last connection has ended.
pub(crate) async fn run(
    (listener, max): (TcpListener, usize),
    router: Router,
    settings: Arc<ArcSwap<Server>>,
    mut phase: watch::Receiver<Phase>,
    alive: mpsc::Sender<()>,
) {
    let (places, addresses) = (Arc::new(Semaphore::new(max)), Arc::<Addresses>::default());
    let mut warned: Option<Instant> = None;
    let mut may_warn = move || {
        let may = warned.is_none_or(|last| last.elapsed() > WARN_EVERY);
        if may {
            warned = Some(Instant::now());
        }
        may
    };
    loop {
        let accepted = async {
            // The semaphore is never closed.
            let place = places.clone().acquire_owned().await.map_err(std::io::Error::other)?;
            listener.accept().await.map(|(stream, peer)| (stream, peer.ip().to_canonical(), place))
        };
        let accepted = tokio::select! {
            accepted = accepted => accepted,
            () = reached(&mut phase, Phase::Draining) => return,
        };
        match accepted {
            Ok((stream, peer, place)) => {
                // Otherwise small writes of a stream wait for acknowledgements.
                let _ = stream.set_nodelay(true);
                let (router, phase, alive) = (router.clone(), phase.clone(), alive.clone());
                let settings = settings.load();
                let max = settings.max_connections_per_address;
                let max = max.filter(|_| !is_trusted(peer, &settings.trusted_proxies));
                let Some(own_place) = addresses.enter(peer, max) else {
                    if may_warn() {
                        tracing::warn!(client = %peer, "closed a connection: the address has `max_connections_per_address`");
                    }
                    continue;
                };
                let limits = Limits {
                    read: settings.read_timeout,
                    write: settings.write_timeout,
                    idle: settings.idle_timeout,
                };
                tokio::spawn(async move {
                    connection(stream, peer, router, limits, phase).await;
                    drop((alive, place, own_place));
                });
            }
            // Usually no file descriptors are left, for a while.
            Err(error) => {
                if may_warn() {
                    tracing::warn!("cannot accept a connection: {error}");
                }
                sleep(Duration::from_millis(50)).await;
            }
        }
    }
}

/// Waits until the phase is `wanted` or a later one.
pub(crate) async fn reached(phase: &mut watch::Receiver<Phase>, wanted: Phase) {
    // An error means that the program has ended.
    let _ = phase.wait_for(|now| *now as u8 >= wanted as u8).await;
}

/// Time limits of a connection.
#[derive(Clone, Copy)]
struct Limits {
    /// For the head of a request.
    read: Duration,
    /// For a client that reads nothing.
    write: Duration,
    /// Between two requests.
    idle: Duration,
}

async fn connection(
    stream: TcpStream,
    peer: IpAddr,
    router: Router,
    limits: Limits,
    mut phase: watch::Receiver<Phase>,
) {
    let is_http2 = tokio::select! {
        is_http2 = speaks_http2(&stream, limits.read) => is_http2,
        () = reached(&mut phase, Phase::Draining) => return,
    };
    let Some(is_http2) = is_http2 else { return };
    converse(stream, is_http2, peer, router, limits, phase).await;
}

/// Serves a connection whose protocol is known.
async fn converse(
    stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
    is_http2: bool,
    peer: IpAddr,
    router: Router,
    limits: Limits,
    phase: watch::Receiver<Phase>,
) {
    let activity = Activity::start();
    let head = (!is_http2).then(|| Head::new(activity.clone(), limits.read));
    let (io, routes) =
        (TokioIo::new(Progress::new(stream, limits.write, head)), TowerToHyperService::new(router));
    let service = service_fn({
        let activity = activity.clone();
        move |mut request: http::Request<Incoming>| {
            request.extensions_mut().insert(Peer(peer));
            let (running, answer) = (activity.begin(), routes.call(request));
            async move { answer.await.map(|response| response.map(|body| Counted::new(body, running))) }
        }
    });
    if is_http2 {
        let mut builder = http2::Builder::new(Streams { limit: limits.write });
        builder
            .timer(TokioTimer::new())
            .max_concurrent_streams(256)
            .max_header_list_size(64 * 1024)
            .adaptive_window(true)
            .keep_alive_interval(Duration::from_secs(30))
            .keep_alive_timeout(limits.read);
        drive(builder.serve_connection(io, service), &activity, limits, phase).await;
    } else {
        let mut builder = http1::Builder::new();
        // `Head` bounds the time of a head. The timer of hyper would include the idle time before it.
        builder.timer(TokioTimer::new()).header_read_timeout(None).max_buf_size(READ_BUFFER);
        drive(builder.serve_connection(io, service), &activity, limits, phase).await;
    }
}

/// Runs a connection to its end. If it is idle for too long, or while draining, it ends after its current request. At
/// [`Phase::Over`] it is dropped.
async fn drive(
    connection: impl GracefulConnection,
    activity: &Activity,
    limits: Limits,
    mut phase: watch::Receiver<Phase>,
) {
    let mut connection = pin!(connection);
    let is_idle = tokio::select! {
        // The server does not report how a connection ended.
        _ = connection.as_mut() => return,
        () = activity.idle(limits.idle) => true,
        () = reached(&mut phase, Phase::Draining) => false,
    };
    connection.as_mut().graceful_shutdown();
    activity.touch();
    tokio::select! {
        _ = connection.as_mut() => {}
        // A client of HTTP/2 that does not end it.
        () = activity.idle(limits.write), if is_idle => {}
        () = reached(&mut phase, Phase::Over) => {}
    }
}

/// Largest buffer of a connection of HTTP/1.1, in bytes: the bound of a head. A body of 256 KiB arrives with its head in one
/// read, and is then not copied.
const READ_BUFFER: usize = 320 * 1024;

/// First bytes of each connection of HTTP/2 (RFC 9113, 3.4). No request of HTTP/1.1 begins with them.
const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Returns true if the connection begins with HTTP/2's preface, and `None` if the client leaves or does not send enough
/// within `read_timeout`: hyper waits for the preface without a limit. The bytes stay in the socket.
async fn speaks_http2(stream: &TcpStream, read_timeout: Duration) -> Option<bool> {
    let end = Instant::now() + read_timeout;
    let mut first = [0; PREFACE.len()];
    loop {
        let known = timeout_at(end, stream.peek(&mut first)).await.ok()?.ok()?;
        match &first[..known] {
            [] => return None,
            all if all == PREFACE => return Some(true),
            // More bytes must come, and `peek` returns at once while some are there.
            part if PREFACE.starts_with(part) => {
                timeout_at(end, sleep(Duration::from_millis(5))).await.ok()?;
            }
            _ => return Some(false),
        }
    }
}

#[cfg(test)]
mod tests;
