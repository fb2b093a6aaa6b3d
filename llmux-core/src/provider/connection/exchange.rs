//! One exchange with a provider: a request on a kept or a new connection, up to the head of the response.
//!
//! `openai` calls it. It records the progress that rule F1 needs. Deliberately absent: sending a request a second time
//! after any part of it may have been written.

use std::sync::Arc;

use bytes::Bytes;
use http::{
    HeaderMap, HeaderValue, Method, Request, Response, Uri,
    header::{HOST, PROXY_AUTHORIZATION},
    uri::Scheme,
};
use http_body_util::Full;
use hyper::client::conn::TrySendError;

use super::{
    body::Body,
    dial::{DialError, Dialer},
    pool::{Connection, Pool, Ready},
};
use crate::{progress::Progress, provider::tls::CertificateRefusal};

/// The two forms of an endpoint's URL, made once.
#[derive(Clone, Debug)]
pub(in crate::provider) struct Target {
    /// The form of HTTP/1.1: a path, or the whole URL for a proxy.
    short: Uri,
    /// The whole URL.
    whole: Uri,
}

#[cfg(test)]
impl std::fmt::Display for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.whole.fmt(f)
    }
}

/// A request to send.
pub(in crate::provider) struct Outgoing<'t> {
    pub(in crate::provider) target: &'t Target,
    pub(in crate::provider) method: Method,
    pub(in crate::provider) headers: HeaderMap,
    pub(in crate::provider) body: Bytes,
    /// Sends it on a new connection.
    pub(in crate::provider) new_connection: bool,
}

/// Reason why no head of a response came.
pub(in crate::provider) enum Failure {
    Dial(DialError),
    /// The provider refused the host's certificate. It took no request from the connection.
    Certificate(CertificateRefusal),
    Connection(hyper::Error),
}

/// Sends requests to one provider.
pub(in crate::provider) struct Exchange {
    pool: Arc<Pool>,
    forwards: bool,
    host: Option<HeaderValue>,
}

impl Exchange {
    /// Prepares exchanges. Adds the headers that name the provider and authorize at the proxy.
    pub(in crate::provider) fn new(dialer: Dialer, origin: &Uri, headers: &mut HeaderMap) -> Self {
        if let Some(auth) = dialer.proxy_auth() {
            headers.insert(PROXY_AUTHORIZATION, auth);
        }
        if let Some(host) = host_of(origin)
            && !headers.contains_key(HOST)
        {
            headers.insert(HOST, host);
        }
        let forwards = dialer.forwards();
        Self { pool: Pool::new(dialer), forwards, host: headers.get(HOST).cloned() }
    }

    /// Makes the forms of a URL.
    pub(in crate::provider) fn target(&self, whole: Uri) -> Target {
        let path = whole.path_and_query().cloned().map(Uri::from).filter(|_| !self.forwards);
        Target { short: path.unwrap_or_else(|| whole.clone()), whole }
    }

    /// Sends a request. `progress` is right at every point at which the caller may drop this future.
    pub(in crate::provider) async fn send(
        &self,
        outgoing: Outgoing<'_>,
        progress: &mut Progress,
    ) -> Result<Response<Body>, Failure> {
        let Outgoing { target, method, headers, body, new_connection } = outgoing;
        let mut request = Request::new(Full::new(body));
        *request.method_mut() = method;
        *request.headers_mut() = headers;
        let mut new = new_connection;
        loop {
            *progress = Progress::NotSent;
            let Ready { connection, reused } = self.pool.ready(new).await.map_err(Failure::Dial)?;
            let activity = connection.activity().clone();
            let read = activity.read();
            *progress = Progress::Sent;
            let sent = match connection {
                Connection::Http1(mut connection) => {
                    request.uri_mut().clone_from(&target.short);
                    let sent = connection.send(request).await;
                    sent.map(|response| {
                        response.map(|incoming| Body::leased(incoming, (self.pool.clone(), connection)))
                    })
                }
                Connection::Http2(mut place) => {
                    request.uri_mut().clone_from(&target.whole);
                    request.headers_mut().remove(HOST);
                    let sent = place.send(request).await;
                    sent.map(|response| response.map(|incoming| Body::shared(incoming, place)))
                }
            };
            let mut error: TrySendError<_> = match sent {
                Ok(response) => {
                    *progress = Progress::HeadReceived;
                    return Ok(response);
                }
                Err(error) => error,
            };
            *progress = match error.take_message() {
                // The kept connection had closed before anything was written to it.
                Some(unsent) if reused => {
                    request = unsent;
                    if let Some(host) = &self.host {
                        request.headers_mut().insert(HOST, host.clone());
                    }
                    new = true;
                    continue;
                }
                _ if let Some(refusal) = activity.refusal() => {
                    *progress = Progress::NotSent;
                    return Err(Failure::Certificate(refusal));
                }
                Some(_) => Progress::NotSent,
                None if is_refused(error.error()) => Progress::NotSent,
                None if reused && activity.is_stale(read) => Progress::Stale,
                None => Progress::Sent,
            };
            return Err(Failure::Connection(error.into_error()));
        }
    }
}

/// Returns the `host` header of a URL: without its user, and without the port that its scheme implies.
fn host_of(origin: &Uri) -> Option<HeaderValue> {
    let host = origin.host()?;
    let implied = if origin.scheme() == Some(&Scheme::HTTPS) { 443 } else { 80 };
    match origin.port_u16().filter(|port| *port != implied) {
        Some(port) => HeaderValue::from_str(&format!("{host}:{port}")).ok(),
        None => HeaderValue::from_str(host).ok(),
    }
}

/// Returns true if an HTTP/2 provider has said that it did not process the request.
fn is_refused(error: &hyper::Error) -> bool {
    let source = std::error::Error::source(error).and_then(|source| source.downcast_ref::<h2::Error>());
    source.is_some_and(|error| {
        error.is_remote()
            && (error.reason() == Some(h2::Reason::REFUSED_STREAM)
                || error.is_go_away() && error.reason() == Some(h2::Reason::NO_ERROR))
    })
}
