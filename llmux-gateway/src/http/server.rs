//! Connections: accepts them, tells HTTP/1.1 from HTTP/2, and lets them end at a shutdown.
//!
//! `serve` runs one of these for each listener. It stands below axum's own `serve` for what that does not offer:
//! limits on the time a head may take (also before the protocol is known), and a drain that ends. Deliberately
//! absent: compression, TLS, and what is served.

use std::{
    net::{IpAddr, SocketAddr},
    pin::pin,
    time::Duration,
};

use axum::Router;
use hyper::server::conn::{http1, http2};
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::graceful::GracefulConnection,
    service::TowerToHyperService,
};
use llmux_terminal::{CliError, Result};
use tokio::{
    net::{TcpListener, TcpStream, lookup_host},
    sync::{mpsc, watch},
    time::{Instant, sleep, timeout_at},
};

/// How far the program's end has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    Running,
    /// `/readyz` says 503; connections are still accepted.
    Leaving,
    /// No new connections; those that are there may end.
    Draining,
    /// Connections are dropped.
    Over,
}

/// Listens on an address; `flag` and `key` are where another can be chosen.
pub(crate) async fn bind(address: &str, flag: &str, key: &str) -> Result<TcpListener> {
    let failed = |why: &dyn std::fmt::Display| {
        CliError::new(format!(
            "cannot listen on {address}: {why}; choose another with {flag} or [server] {key}"
        ))
    };
    let addresses = lookup_host(address).await.map_err(|error| match address.rsplit_once(':') {
        Some((host, _)) if host.parse::<IpAddr>().is_err() => failed(&error),
        _ => failed(&"it is no address; an address is HOST:PORT, such as 127.0.0.1:8080"),
    })?;
    let mut last = failed(&"the name has no address");
    for address in addresses {
        match TcpListener::bind(address).await {
            Ok(listener) => return Ok(listener),
            Err(error) => {
                last = match error.kind() {
                    std::io::ErrorKind::AddrInUse => failed(&"the address is in use"),
                    std::io::ErrorKind::AddrNotAvailable => failed(&"this machine has no such address"),
                    std::io::ErrorKind::PermissionDenied => failed(&"ports below 1024 need more rights"),
                    _ => failed(&error),
                }
            }
        }
    }
    Err(last)
}

/// The listener's address.
pub(crate) fn address(listener: &TcpListener) -> Result<SocketAddr> {
    listener.local_addr().map_err(CliError::new)
}

/// Serves until `phase` is draining. Every connection holds `alive`, so that its other end closes with the last.
pub(crate) async fn run(
    listener: TcpListener,
    router: Router,
    read_timeout: Duration,
    mut phase: watch::Receiver<Phase>,
    alive: mpsc::Sender<()>,
) {
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = reached(&mut phase, Phase::Draining) => return,
        };
        match accepted {
            Ok((stream, _)) => {
                // Small writes of a stream would otherwise wait for acknowledgements.
                let _ = stream.set_nodelay(true);
                let (router, phase, alive) = (router.clone(), phase.clone(), alive.clone());
                tokio::spawn(async move {
                    connection(stream, router, read_timeout, phase).await;
                    drop(alive);
                });
            }
            // Most often there are no file descriptors left; they come back.
            Err(error) => {
                tracing::warn!("a connection could not be accepted: {error}");
                sleep(Duration::from_millis(50)).await;
            }
        }
    }
}

/// Waits for a phase, or a later one.
pub(crate) async fn reached(phase: &mut watch::Receiver<Phase>, wanted: Phase) {
    // An error means that the program is over.
    let _ = phase.wait_for(|now| *now as u8 >= wanted as u8).await;
}

async fn connection(
    stream: TcpStream,
    router: Router,
    read_timeout: Duration,
    mut phase: watch::Receiver<Phase>,
) {
    let is_http2 = tokio::select! {
        is_http2 = speaks_http2(&stream, read_timeout) => is_http2,
        () = reached(&mut phase, Phase::Draining) => return,
    };
    let Some(is_http2) = is_http2 else { return };
    let (io, service) = (TokioIo::new(stream), TowerToHyperService::new(router));
    if is_http2 {
        let mut builder = http2::Builder::new(TokioExecutor::new());
        builder
            .timer(TokioTimer::new())
            .max_concurrent_streams(256)
            .max_header_list_size(64 * 1024)
            .adaptive_window(true)
            .keep_alive_interval(Duration::from_secs(30))
            .keep_alive_timeout(read_timeout);
        drive(builder.serve_connection(io, service), phase).await;
    } else {
        let mut builder = http1::Builder::new();
        builder.timer(TokioTimer::new()).header_read_timeout(read_timeout).max_buf_size(256 * 1024);
        drive(builder.serve_connection(io, service), phase).await;
    }
}

/// Runs a connection to its end, which a shutdown hastens.
async fn drive(connection: impl GracefulConnection, mut phase: watch::Receiver<Phase>) {
    let mut connection = pin!(connection);
    tokio::select! {
        // How a connection ended is the client's affair.
        _ = connection.as_mut() => return,
        () = reached(&mut phase, Phase::Draining) => {}
    }
    connection.as_mut().graceful_shutdown();
    tokio::select! {
        _ = connection.as_mut() => {}
        () = reached(&mut phase, Phase::Over) => {}
    }
}

/// How every connection of HTTP/2 begins (RFC 9113, 3.4). No request of HTTP/1.1 does.
const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Does the client begin as HTTP/2 does? `None` where it leaves or sends no more, which is asked for all of the
/// beginning: hyper waits for it without an end. The bytes are only looked at.
async fn speaks_http2(stream: &TcpStream, read_timeout: Duration) -> Option<bool> {
    let end = Instant::now() + read_timeout;
    let mut first = [0; PREFACE.len()];
    loop {
        let known = timeout_at(end, stream.peek(&mut first)).await.ok()?.ok()?;
        match &first[..known] {
            [] => return None,
            all if all == PREFACE => return Some(true),
            // More must come, and a look at what is there does not wait for it.
            part if PREFACE.starts_with(part) => {
                timeout_at(end, sleep(Duration::from_millis(5))).await.ok()?;
            }
            _ => return Some(false),
        }
    }
}
