//! State that every route of the main listener shares, and the facts about one request.
//!
//! `api` makes the facts; `complete` reads both.

use std::{net::IpAddr, sync::Arc};

use arc_swap::ArcSwap;
use llmux_core::{Client, pipeline::Identity};
use tokio::sync::watch;

use super::{
    auth::ApiKeys, cuts::Cuts, held_bytes::HeldBytes, inflight_requests::InflightRequests,
    refusals::Refusals, response_id::ResponseIds, server::Phase,
};
use crate::config::server::Server;

/// State that every route shares.
pub(crate) struct Api {
    pub(crate) client: Client,
    /// True if only this machine reaches the listener.
    pub(crate) is_loopback: bool,
    /// Replaced by a reload of the configuration.
    pub(crate) keys: Arc<ArcSwap<ApiKeys>>,
    pub(crate) phase: watch::Receiver<Phase>,
    /// Replaced by a reload of the configuration.
    pub(crate) settings: Arc<ArcSwap<Server>>,
    pub(crate) held: Arc<HeldBytes>,
    pub(crate) refusals: Arc<Refusals>,
    pub(crate) cuts: Arc<Cuts>,
    pub(crate) inflight: Arc<InflightRequests>,
    pub(crate) ids: Arc<ResponseIds>,
}

/// Facts about a request that `api` has found at its entrance.
#[derive(Clone)]
pub(super) struct Entered {
    pub(super) request_id: Arc<str>,
    /// The id that the client gave. It names nothing here: clients may repeat it, or choose a path.
    pub(super) client_id: Option<Arc<str>>,
    pub(super) identity: Option<Arc<Identity>>,
    pub(super) client: Option<IpAddr>,
}
