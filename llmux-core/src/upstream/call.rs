//! The call of an upstream: the trait that the pipeline knows, and all that an upstream knows of a request.

use std::sync::Arc;

use futures_util::future::BoxFuture;
use http::{HeaderMap, HeaderName, HeaderValue};
use tokio::time::Instant;

use super::{deployment::Deployment, lease::Lease};
use crate::{
    cancel::Cancel,
    document::Document,
    endpoint::Endpoint,
    error::Error,
    provider::{Accepted, Answer, Binary, Events},
};

/// The destination of requests, as the pipeline sees it.
pub(crate) trait Upstream: Send + Sync {
    /// Sends a request and waits for the whole response.
    fn send<'c>(&'c self, call: UpstreamCall<'c>) -> BoxFuture<'c, Result<Answer<Document>, Error>>;

    /// Sends a request whose response streams; ready when a provider has accepted it.
    fn stream<'c>(&'c self, call: UpstreamCall<'c>) -> BoxFuture<'c, Result<Answer<Events>, Error>>;

    /// Sends a request whose answer is not JSON; ready when the head of the answer has arrived.
    fn binary<'c>(&'c self, call: UpstreamCall<'c>) -> BoxFuture<'c, Result<Answer<Binary>, Error>>;

    /// Returns true if a fallback model may follow this error of a request that arrived at `started` (rule F6).
    fn allows_fallback(&self, error: &Error, started: Instant) -> bool;
}

/// One request on its way to a provider: all that an upstream knows of it.
pub(crate) struct UpstreamCall<'c> {
    pub(crate) endpoint: Endpoint,
    /// The model that the request names.
    pub(crate) model: &'c str,
    /// The request as the pre chain left it.
    pub(crate) body: &'c Document,
    pub(crate) request_id: &'c Arc<str>,
    /// The headers that plugins have set for the provider.
    pub(crate) headers: &'c [(HeaderName, HeaderValue)],
    /// The id of the client's key; `None` if no keys are configured.
    pub(crate) client: Option<&'c str>,
    /// Time of the request's arrival.
    pub(crate) started: Instant,
    /// The client's headers, credentials redacted.
    pub(crate) client_headers: Arc<HeaderMap>,
    /// The id of the deployment that has the stored response which the request is about.
    pub(crate) pinned: Option<&'c str>,
    /// The mark that a provider sets when it has accepted a request for a stream.
    pub(crate) accepted: Option<Accepted>,
    pub(crate) cancel: &'c Cancel,
    /// Set to the deployment that is tried now.
    pub(crate) deployment: &'c mut Option<Arc<Deployment>>,
    /// Set to the lease of that deployment, if it answers. Its owner reports the end of the answer.
    pub(crate) lease: &'c mut Option<Lease>,
    /// Set to the body that goes to that deployment.
    pub(crate) sent: &'c mut Option<Document>,
}
