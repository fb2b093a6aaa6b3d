//! The way from a request to an answer of a provider.
//!
//! ```text
//! pipeline ──► Upstream: Router ──► Deployments (which) ──► Retry (when again) ──► provider
//! ```
//!
//! The pipeline calls an [`Upstream`] between the pre and the post chain. [`Router`] is the one that a client has: it
//! knows the deployments of each model and tries them in turn. Hooks do not run again here. Deliberately absent:
//! fallback models, which are attempts of their own and belong to the pipeline.

mod body;
mod deployment;
mod retry;
mod router;

use std::sync::Arc;

use futures_util::future::BoxFuture;

pub use self::retry::RetryConfig;
pub(crate) use self::{
    deployment::{Deployment, Deployments},
    router::Router,
};
use crate::{Endpoint, cancel::Cancel, document::Document, error::Error, provider::Events};

/// The destination of requests, as the pipeline sees it.
pub(crate) trait Upstream: Send + Sync {
    /// Returns the deployment that is tried first for a model; `None` if no provider serves it.
    fn first(&self, model: &str) -> Option<&Arc<Deployment>>;

    /// Sends a request and waits for the whole response.
    fn send<'c>(&'c self, call: UpstreamCall<'c>) -> BoxFuture<'c, Result<Document, Error>>;

    /// Sends a request whose response streams; ready when a provider has accepted it.
    fn stream<'c>(&'c self, call: UpstreamCall<'c>) -> BoxFuture<'c, Result<Events, Error>>;
}

/// One request on its way to a provider: all that an upstream knows of it.
pub(crate) struct UpstreamCall<'c> {
    pub(crate) endpoint: Endpoint,
    /// The model that the request names.
    pub(crate) model: &'c str,
    /// The request as the pre chain left it.
    pub(crate) body: &'c Document,
    pub(crate) request_id: &'c Arc<str>,
    pub(crate) cancel: &'c Cancel,
    /// Set to the deployment that is tried now.
    pub(crate) deployment: &'c mut Option<Arc<Deployment>>,
    /// Set to the body that goes to that deployment.
    pub(crate) sent: &'c mut Option<Document>,
}
