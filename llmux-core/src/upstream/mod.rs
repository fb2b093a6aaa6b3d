//! The way from a request to an answer of a provider.
//!
//! ```text
//! pipeline ──► Upstream: Router ──► Deployments (which) ──► provider
//!                        └──► resend (whether again) · RetryConfig (how often, after which delay)
//! ```
//!
//! The pipeline calls an [`Upstream`] between the pre and the post chain. [`Router`] is the one that a client has: it
//! knows the deployments of each model and tries them in turn. Hooks do not run again here. Deliberately absent:
//! fallback models, which are attempts of their own and belong to the pipeline.

mod body;
mod call;
mod deployment;
mod resend;
mod retry;
mod router;

pub use self::retry::RetryConfig;
pub(crate) use self::{
    call::{Upstream, UpstreamCall},
    deployment::Deployment,
    router::Router,
};
