//! The client: the part of the crate that an embedder calls.
//!
//! It takes a request, gives it a snapshot of the pipeline, and runs it. Deliberately absent: HTTP serving, and all that
//! happens to a request between its beginning and its end (`pipeline`).

mod builder;
mod handle;
mod reply;
mod request;
mod settings;
mod stream;

pub use self::{
    builder::{BuildError, ClientBuilder, Model},
    handle::Client,
    reply::{Reply, StreamReply},
    request::Request,
    stream::ReplyStream,
};
pub use crate::upstream::{
    DeploymentConfig, DeploymentInfo, DeploymentModel, DeploymentState, LatencyInfo, OtherDeployment,
    RetryConfig, RoutingStrategy,
};
