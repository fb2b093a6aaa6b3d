//! The place of a secret in the configuration file: a variable of the environment, or a file of its own.
//!
//! `server` and `provider_table` have it as a member, and `provider` reads it.

use std::path::PathBuf;

use serde::Deserialize;

/// The place of a secret.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged, expecting = "a secret is { env = \"VARIABLE\" } or { file = \"PATH\" }")]
pub(crate) enum SecretPlace {
    Env(SecretEnv),
    File(SecretFile),
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct SecretEnv {
    pub(crate) env: String,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct SecretFile {
    pub(crate) file: PathBuf,
}
