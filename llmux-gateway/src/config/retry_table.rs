//! The tables `[retry]` and `[routing]` of the configuration file: which deployment is tried, how often, and when again.
//!
//! `file` has them as members, and `client` makes settings of them.

use std::time::Duration;

use llmux_core::client::{OtherDeployment, RoutingStrategy};
use serde::Deserialize;

use super::bounded;

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Routing {
    pub(crate) strategy: Strategy,
}

/// The rule by which the deployments of a model share its requests.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Strategy {
    #[default]
    Weighted,
    LeastLatency,
    LeastBusy,
}

impl From<Strategy> for RoutingStrategy {
    fn from(strategy: Strategy) -> Self {
        match strategy {
            Strategy::Weighted => Self::Weighted,
            Strategy::LeastLatency => Self::LeastLatency,
            Strategy::LeastBusy => Self::LeastBusy,
        }
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Retry {
    #[serde(deserialize_with = "bounded::max_retries")]
    pub(crate) max_retries: Option<u32>,
    #[serde(with = "humantime_serde")]
    pub(crate) initial_backoff: Option<Duration>,
    #[serde(with = "humantime_serde")]
    pub(crate) max_backoff: Option<Duration>,
    pub(crate) sent: bool,
    pub(crate) other_deployment: Other,
    #[serde(deserialize_with = "bounded::deadline")]
    pub(crate) deadline: Option<Duration>,
}

/// The failures after which a request is tried elsewhere.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Other {
    #[default]
    Failed,
    Unsent,
}

impl From<Other> for OtherDeployment {
    fn from(other: Other) -> Self {
        match other {
            Other::Failed => Self::Failed,
            Other::Unsent => Self::Unsent,
        }
    }
}
