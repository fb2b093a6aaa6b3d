//! The call of an upstream: the trait that the pipeline knows, and all that an upstream knows of a request.

use std::sync::Arc;

use futures_util::future::BoxFuture;
use http::{HeaderName, HeaderValue};

use super::deployment::Deployment;
use crate::{
    cancel::Cancel,
    document::Document,
    endpoint::Endpoint,
    error::Error,
    provider::{Answer, Events},
};

/// The destination of requests, as the pipeline sees it.
pub(crate) trait Upstream: Send + Sync {
    /// Sends a request and waits for the whole response.
    fn send<'c>(&'c self, call: UpstreamCall<'c>) -> BoxFuture<'c, Result<Answer<Document>, Error>>;

    /// Sends a request whose response streams; ready when a provider has accepted it.
    fn stream<'c>(&'c self, call: UpstreamCall<'c>) -> BoxFuture<'c, Result<Answer<Events>, Error>>;
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
    pub(crate) cancel: &'c Cancel,
    /// Set to the deployment that is tried now.
    pub(crate) deployment: &'c mut Option<Arc<Deployment>>,
    /// Set to the body that goes to that deployment.
    pub(crate) sent: &'c mut Option<Document>,
}
