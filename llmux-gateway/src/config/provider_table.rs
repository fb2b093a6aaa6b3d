//! The table `[[provider]]` of the configuration file.
//!
//! `file` has it as a member, and `provider` makes a provider of it.

use std::{collections::BTreeMap, path::PathBuf, time::Duration};

use serde::Deserialize;
use toml::Spanned;

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
    #[serde(default)]
    pub(crate) headers: BTreeMap<String, HeaderText>,
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
    Env(HeaderEnv),
    File(HeaderFile),
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct HeaderEnv {
    pub(crate) env: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct HeaderFile {
    pub(crate) file: PathBuf,
}

/// A model by one name, or by its name here and its name at the provider.
#[derive(Debug, Deserialize)]
#[serde(untagged, expecting = "a model is a string, or a table { name = \"…\", upstream = \"…\" }")]
pub(crate) enum Model {
    Same(String),
    Renamed(Renamed),
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Renamed {
    pub(crate) name: String,
    pub(crate) upstream: String,
}

impl Model {
    pub(crate) fn names(&self) -> (&str, &str) {
        match self {
            Model::Same(name) => (name, name),
            Model::Renamed(Renamed { name, upstream }) => (name, upstream),
        }
    }
}
