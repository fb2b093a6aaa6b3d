//! Opens connections to one provider: TCP, the proxy that the environment names, and TLS.
//!
//! `pool` calls it. The environment is read once, when a provider is built.

use std::{future::poll_fn, sync::Arc, time::Duration};

use http::{HeaderValue, Uri, uri::Scheme};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::{
        legacy::connect::{Connection, HttpConnector, proxy::Tunnel},
        proxy::matcher::{Intercept, Matcher},
    },
    rt::TokioIo,
};
use rustls::ClientConfig;
use tokio::io::{AsyncRead, AsyncWrite};
use tower_service::Service;

use super::activity::{Activity, Counted};
use crate::provider::tls::{self, CertificateRefusal, Tls, TlsError};

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// The bytes of a connection, whatever they pass through.
pub(super) trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Duplex for T {}

/// The bytes of a connection, counted.
pub(super) type Stream = TokioIo<Counted<Box<dyn Duplex>>>;

/// A new connection.
pub(super) struct Dialed {
    pub(super) io: Stream,
    pub(super) activity: Arc<Activity>,
    /// True if the provider has chosen HTTP/2.
    pub(super) http2: bool,
}

/// Reason why there is no connection.
#[derive(Debug, thiserror::Error)]
pub(in crate::provider) enum DialError {
    #[error("no connection within {0:?}")]
    Timeout(Duration),
    #[error(transparent)]
    Failed(BoxError),
}

impl DialError {
    /// Returns the refusal of a certificate that this is.
    pub(in crate::provider) fn certificate_refusal(&self) -> Option<CertificateRefusal> {
        match self {
            Self::Failed(error) => CertificateRefusal::of(&**error),
            Self::Timeout(_) => None,
        }
    }
}

/// Reason why a provider's connections cannot be prepared.
#[derive(Debug, thiserror::Error)]
pub(in crate::provider) enum ProxyError {
    #[error("the environment names a proxy of the scheme `{0}`; use a proxy of the scheme http or https")]
    Scheme(String),
    #[error(transparent)]
    Tls(#[from] TlsError),
}

/// The way to a provider.
#[derive(Clone)]
enum Way {
    Tcp(HttpConnector),
    Tls(HttpsConnector<HttpConnector>),
    Tunnel(HttpsConnector<Tunnel<HttpConnector>>),
    TlsTunnel(HttpsConnector<Tunnel<HttpsConnector<HttpConnector>>>),
}

/// Opens connections to one provider.
pub(in crate::provider) struct Dialer {
    way: Way,
    /// The destination of `way`: the provider, or the proxy that requests in plain text are sent to.
    destination: Uri,
    limit: Duration,
    proxy: Option<Intercept>,
    forwards: bool,
}

impl Dialer {
    /// Prepares the connections to a provider. `origin` has a scheme and an authority. Certificates are read only if
    /// `origin` or the proxy needs them.
    pub(in crate::provider) fn new(origin: &Uri, tls: &Tls, limit: Duration) -> Result<Self, ProxyError> {
        Self::through(origin, Matcher::from_system().intercept(origin), tls, limit)
    }

    pub(super) fn through(
        origin: &Uri,
        proxy: Option<Intercept>,
        tls: &Tls,
        limit: Duration,
    ) -> Result<Self, ProxyError> {
        let tcp = || {
            let mut tcp = HttpConnector::new();
            tcp.enforce_http(false);
            tcp.set_nodelay(true);
            tcp.set_keepalive(Some(Duration::from_secs(60)));
            tcp.set_connect_timeout(Some(limit));
            tcp
        };
        let encrypted = origin.scheme() == Some(&Scheme::HTTPS);
        let of_proxy = proxy.as_ref().map(|proxy| proxy.uri().clone());
        let tls_to_proxy = match of_proxy.as_ref().and_then(Uri::scheme_str) {
            None | Some("http") => false,
            Some("https") => true,
            Some(other) => return Err(ProxyError::Scheme(other.to_owned())),
        };
        let way = match (of_proxy.clone(), encrypted) {
            (None, false) => Way::Tcp(tcp()),
            (None, true) => Way::Tls(with_tls(tls.config()?, true, tcp())),
            (Some(_), false) if tls_to_proxy => Way::Tls(with_tls(tls::of_proxies()?, false, tcp())),
            (Some(_), false) => Way::Tcp(tcp()),
            (Some(proxy_uri), true) => {
                let auth = proxy.as_ref().and_then(|proxy| proxy.basic_auth().cloned());
                if tls_to_proxy {
                    let below = with_tls(tls::of_proxies()?, false, tcp());
                    Way::TlsTunnel(with_tls(tls.config()?, true, tunnel(proxy_uri, below, auth)))
                } else {
                    Way::Tunnel(with_tls(tls.config()?, true, tunnel(proxy_uri, tcp(), auth)))
                }
            }
        };
        let forwards = of_proxy.is_some() && !encrypted;
        let destination = of_proxy.filter(|_| forwards).unwrap_or_else(|| origin.clone());
        Ok(Self { way, destination, limit, proxy, forwards })
    }

    /// Returns true if a proxy receives the requests themselves, which then name the whole URL.
    pub(in crate::provider) fn forwards(&self) -> bool {
        self.forwards
    }

    /// Returns the credentials of the proxy, if it receives the requests themselves.
    pub(in crate::provider) fn proxy_auth(&self) -> Option<HeaderValue> {
        self.proxy.as_ref().filter(|_| self.forwards)?.basic_auth().cloned()
    }

    /// Opens a connection.
    pub(super) async fn dial(&self) -> Result<Dialed, DialError> {
        let to = self.destination.clone();
        let dialing = async {
            match self.way.clone() {
                Way::Tcp(way) => call(way, to).await,
                Way::Tls(way) => call(way, to).await,
                Way::Tunnel(way) => call(way, to).await,
                Way::TlsTunnel(way) => call(way, to).await,
            }
        };
        match tokio::time::timeout(self.limit, dialing).await {
            Ok(dialed) => dialed.map_err(DialError::Failed),
            Err(_) => Err(DialError::Timeout(self.limit)),
        }
    }
}

/// Calls a connector.
async fn call<C, T>(mut connector: C, to: Uri) -> Result<Dialed, BoxError>
where
    C: Service<Uri, Response = T>,
    C::Error: Into<BoxError>,
    T: hyper::rt::Read + hyper::rt::Write + Connection + Send + Unpin + 'static,
{
    poll_fn(|cx| connector.poll_ready(cx)).await.map_err(Into::into)?;
    let io = connector.call(to).await.map_err(Into::into)?;
    let http2 = io.connected().is_negotiated_h2();
    let activity = Arc::new(Activity::new());
    let io: Box<dyn Duplex> = Box::new(TokioIo::new(io));
    Ok(Dialed { io: TokioIo::new(Counted { io, activity: activity.clone() }), activity, http2 })
}

fn tunnel<C>(proxy: Uri, below: C, auth: Option<HeaderValue>) -> Tunnel<C> {
    let tunnel = Tunnel::new(proxy, below);
    match auth {
        Some(auth) => tunnel.with_auth(auth),
        None => tunnel,
    }
}

fn with_tls<C>(config: ClientConfig, http2: bool, below: C) -> HttpsConnector<C> {
    let builder = HttpsConnectorBuilder::new().with_tls_config(config).https_or_http().enable_http1();
    match http2 {
        true => builder.enable_http2().wrap_connector(below),
        false => builder.wrap_connector(below),
    }
}
