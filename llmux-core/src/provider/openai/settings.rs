//! An [`OpenAi`] provider of the settings that a configuration has.
//!
//! The table of provider types calls it. The checks are the builder's.

use std::sync::Arc;

use super::{BuildError, OpenAi};
use crate::provider::{Provider, ProviderSettings};

/// Base URL of OpenAI's own API.
const OPENAI: &str = "https://api.openai.com/v1";

/// Builds a provider from a configuration's settings.
pub(in crate::provider) fn from_settings(
    settings: &ProviderSettings,
) -> Result<Arc<dyn Provider>, BuildError> {
    let base_url = settings.base_url.as_deref().unwrap_or(OPENAI);
    let mut builder = OpenAi::builder(&*settings.name, base_url).stream_usage(settings.stream_usage);
    if let Some(key) = &settings.api_key {
        builder = builder.api_key(key.clone());
    }
    if let Some(name) = &settings.api_key_header {
        builder = builder.api_key_header(name);
    }
    if let Some(pem) = &settings.ca {
        builder = builder.ca(pem.clone());
    }
    if let Some(pem) = &settings.client_cert {
        builder = builder.client_cert(pem.clone());
    }
    if let Some(pem) = &settings.client_key {
        builder = builder.client_key(pem.clone());
    }
    for (name, value) in &settings.headers {
        builder = builder.header(name, value.clone());
    }
    builder = builder.forward_headers(&settings.forward_headers).forward_trace(settings.forward_trace);
    if let Some(names) = &settings.return_headers {
        builder = builder.return_headers(names);
    }
    if let Some(limit) = settings.connect_timeout {
        builder = builder.connect_timeout(limit);
    }
    if let Some(limit) = settings.timeout {
        builder = builder.timeout(limit);
    }
    if let Some(limit) = settings.idle_timeout {
        builder = builder.idle_timeout(limit);
    }
    if let Some(limit) = settings.max_response_bytes {
        builder = builder.max_response_bytes(limit);
    }
    Ok(Arc::new(builder.build()?))
}
