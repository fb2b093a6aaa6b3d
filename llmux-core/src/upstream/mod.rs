//! The way from a request to an answer of a provider.
//!
//! ```text
//! pipeline ──► Upstream: Router ──► Selection (which, of Deployments) ──► Lease (in flight, recorded) ──► provider
//!                        └──► resend (whether again, whether elsewhere) · RetryConfig (how often, after which delay)
//! ```
//!
//! The pipeline calls an [`Upstream`] between the pre and the post chain. [`Router`] is the one that a client has: it
//! knows the deployments of each model and tries them in turn. Hooks do not run again here. Each deployment has a record:
//! its `health` decides whether it rests, its `figures` are for operators. Deliberately absent: fallback models, which are
//! attempts of their own and belong to the pipeline; here is only the decision whether one may follow.

mod any_model;
mod body;
mod call;
mod client_error;
mod deployment;
mod failure;
mod figures;
mod health;
mod info;
mod lease;
mod metrics;
mod pinned;
mod resend;
mod retry;
mod router;
mod selection;

pub(crate) use self::{
    call::{Upstream, UpstreamCall},
    deployment::{Added, Deployment},
    lease::Lease,
    router::Router,
};
pub use self::{
    deployment::DeploymentConfig,
    health::DeploymentState,
    info::{DeploymentInfo, DeploymentModel, LatencyInfo},
    retry::{OtherDeployment, RetryConfig},
    selection::RoutingStrategy,
};
