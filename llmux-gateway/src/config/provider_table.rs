//! The table `[[provider]]` of the configuration file.
//!
//! `file` has it as a member, and `provider` makes a provider of it.

use std::{collections::BTreeMap, path::PathBuf, time::Duration};

use llmux_core::client::DeploymentConfig;
use serde::Deserialize;
use toml::Spanned;

use super::{bounded, secret_place::SecretPlace};

/// One `[[provider]]`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Provider {
    pub(crate) name: Spanned<String>,
    #[serde(rename = "type")]
    pub(crate) kind: Spanned<String>,
    pub(crate) base_url: Option<String>,
    pub(crate) api_key_env: Option<Spanned<String>>,
    pub(crate) api_key_file: Option<Spanned<PathBuf>>,
    pub(crate) api_key_header: Option<String>,
    pub(crate) ca_file: Option<Spanned<PathBuf>>,
    pub(crate) client_cert_file: Option<Spanned<PathBuf>>,
    pub(crate) client_key_file: Option<Spanned<PathBuf>>,
    pub(crate) models: Spanned<Vec<Model>>,
    #[serde(default, deserialize_with = "bounded::weight")]
    pub(crate) weight: Option<u32>,
    #[serde(default, deserialize_with = "bounded::order")]
    pub(crate) order: Option<u32>,
    #[serde(default)]
    pub(crate) headers: BTreeMap<String, HeaderText>,
    /// Names of the client's headers that go to the provider.
    #[serde(default)]
    pub(crate) forward_headers: Vec<String>,
    /// Names of the provider's headers that go back to the client.
    pub(crate) return_headers: Option<Vec<String>>,
    pub(crate) forward_trace: Option<bool>,
    #[serde(default, with = "humantime_serde")]
    pub(crate) connect_timeout: Option<Duration>,
    #[serde(default, with = "humantime_serde")]
    pub(crate) timeout: Option<Duration>,
    #[serde(default, with = "humantime_serde")]
    pub(crate) idle_timeout: Option<Duration>,
    pub(crate) max_response_bytes: Option<usize>,
    pub(crate) stream_usage: Option<bool>,
    #[serde(default, with = "humantime_serde")]
    pub(crate) chunk_delay: Option<Duration>,
}

/// A header's value, or the place that it is read from.
#[derive(Debug, Deserialize)]
#[serde(untagged, expecting = "a header's value is a string, { env = \"VARIABLE\" } or { file = \"PATH\" }")]
pub(crate) enum HeaderText {
    Text(String),
    Secret(SecretPlace),
}

/// A model by its name, or by a table with its name.
#[derive(Debug, Deserialize)]
#[serde(
    untagged,
    expecting = "a model is a string, or a table { name = \"…\", upstream = \"…\", weight = 1, order = 1 }; \
                 `weight` is a number from 1 to 100, `order` from 1 to 1000"
)]
pub(crate) enum Model {
    Name(String),
    Table(ModelTable),
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ModelTable {
    pub(crate) name: String,
    /// Its name at the provider. Default: the same name.
    pub(crate) upstream: Option<String>,
    #[serde(default, deserialize_with = "bounded::weight")]
    pub(crate) weight: Option<u32>,
    #[serde(default, deserialize_with = "bounded::order")]
    pub(crate) order: Option<u32>,
}

impl Provider {
    /// Returns the deployments of the provider. A model's own weight and order precede the provider's.
    pub(crate) fn deployments(&self) -> impl Iterator<Item = DeploymentConfig> {
        self.models.get_ref().iter().map(|model| {
            let (name, upstream, weight, order) = match model {
                Model::Name(name) => (name, None, None, None),
                Model::Table(ModelTable { name, upstream, weight, order }) => {
                    (name, upstream.as_ref(), *weight, *order)
                }
            };
            DeploymentConfig::new(name)
                .with_upstream_model(upstream.unwrap_or(name).clone())
                .with_weight(weight.or(self.weight).unwrap_or(1))
                .with_order(order.or(self.order).unwrap_or(1))
        })
    }
}
