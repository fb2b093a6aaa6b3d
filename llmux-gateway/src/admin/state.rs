//! State that every route of the admin API shares, and the name of a request's token.
//!
//! `router` and `plugins` read it.

use std::sync::Arc;

use arc_swap::ArcSwap;
use llmux_core::Client;

use super::{reload::Reloader, tokens::AdminTokens};
use crate::{config::server::Server, http::refusals::Refusals};

/// State that every route shares.
pub(crate) struct Admin {
    pub(crate) client: Client,
    /// Replaced by a reload of the configuration.
    pub(crate) tokens: Arc<ArcSwap<AdminTokens>>,
    pub(crate) refusals: Arc<Refusals>,
    pub(crate) reloader: Arc<Reloader>,
    /// Replaced by a reload of the configuration.
    pub(crate) settings: Arc<ArcSwap<Server>>,
}

/// The name of the token that came with a request.
#[derive(Clone)]
pub(crate) struct Who(pub(crate) Arc<str>);
