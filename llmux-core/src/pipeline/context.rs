//! The context of a request, shared by all its hooks. It is made when the request enters and kept to its end.
//!
//! Values and headers of plugins belong to one attempt (`collected`).

use std::{
    net::IpAddr,
    sync::{Arc, OnceLock},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use tokio::time::Instant;

use super::{collected::Collected, headers::Headers};
use crate::{Endpoint, upstream::Deployment};

/// The authenticated sender of a request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Identity {
    /// The id of the API key, never the key.
    pub key_id: String,
    /// The user the key belongs to.
    pub user: Option<String>,
    /// The team the key belongs to.
    pub team: Option<String>,
}

/// A request's context.
pub(crate) struct RequestContext {
    pub(crate) request_id: Arc<str>,
    pub(crate) endpoint: Endpoint,
    pub(crate) is_streaming: bool,
    pub(crate) identity: Option<Arc<Identity>>,
    /// The request's headers, credentials redacted.
    pub(crate) headers: Headers,
    /// The headers of the provider's answer to this attempt.
    pub(crate) provider_headers: Option<Headers>,
    client: Option<IpAddr>,
    /// The address of the client as text, once a plugin has asked for it.
    client_text: OnceLock<Box<str>>,
    /// Time of the request's arrival.
    pub(crate) started: Instant,
    started_at: SystemTime,
    /// The model that the request names at present.
    pub(crate) model: Arc<str>,
    /// Number of the attempt, from 1.
    pub(crate) attempt: u32,
    /// The deployment that was called last in this attempt; `None` while no provider was called.
    pub(crate) deployment: Option<Arc<Deployment>>,
    pub(crate) collected: Collected,
    /// True once the request is complete: hooks may then only read.
    pub(crate) read_only: bool,
}

impl RequestContext {
    pub(crate) fn new(
        endpoint: Endpoint,
        is_streaming: bool,
        model: Arc<str>,
        request_id: Arc<str>,
        identity: Option<Arc<Identity>>,
        headers: Headers,
        client: Option<IpAddr>,
    ) -> Self {
        let started = Instant::now();
        Self {
            request_id,
            endpoint,
            is_streaming,
            identity,
            headers,
            provider_headers: None,
            client,
            client_text: OnceLock::new(),
            started,
            started_at: SystemTime::now(),
            model,
            attempt: 0,
            deployment: None,
            collected: Collected::default(),
            read_only: false,
        }
    }

    /// Returns a copy for a hook that runs beside others. The values and headers that the hook sets are a draft.
    pub(crate) fn draft(&self) -> Self {
        Self {
            request_id: self.request_id.clone(),
            endpoint: self.endpoint,
            is_streaming: self.is_streaming,
            identity: self.identity.clone(),
            headers: self.headers.clone(),
            provider_headers: None,
            client: self.client,
            client_text: OnceLock::new(),
            started: self.started,
            started_at: self.started_at,
            model: self.model.clone(),
            attempt: self.attempt,
            deployment: None,
            collected: self.collected.draft(),
            read_only: false,
        }
    }

    /// Returns the address of the client.
    pub(crate) fn client(&self) -> Option<&str> {
        let client = self.client?;
        Some(self.client_text.get_or_init(|| client.to_string().into()))
    }

    /// Sets the time of arrival, in microseconds since the Unix epoch.
    pub(crate) fn set_started_micros(&mut self, micros: i64) {
        self.started_at = UNIX_EPOCH + Duration::from_micros(micros.try_into().unwrap_or_default());
    }

    /// Returns the time of arrival, in microseconds since the Unix epoch.
    pub(crate) fn started_micros(&self) -> i64 {
        let since = self.started_at.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
        since.as_micros().try_into().unwrap_or(i64::MAX)
    }
}
