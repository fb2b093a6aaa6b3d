//! Settings of the registry: the plugin folders, the trust in their files, and the bounds of unloading.

use std::{path::PathBuf, time::Duration};

use crate::plugins::library::{signature::TrustedKey, verify::VerifyOptions};

/// Where plugins are looked for, and how they leave.
#[derive(Clone, Debug)]
pub struct PluginsConfig {
    /// The plugin folders.
    pub dirs: Vec<PathBuf>,
    /// Load files and folders that others could change. Default `false`.
    pub allow_insecure_permissions: bool,
    /// The keys whose signatures are trusted.
    pub trusted_keys: Vec<TrustedKey>,
    /// Refuse libraries without a signature by one of them. Default `false`.
    pub require_signature: bool,
    /// How many images that no instance uses may stay mapped before loading is refused. Default 1 000.
    pub max_retired_images: u64,
    /// How long an unload waits before it answers that the instance is still draining. Default 30 s.
    pub drain_timeout: Duration,
}

impl Default for PluginsConfig {
    fn default() -> Self {
        Self {
            dirs: Vec::new(),
            allow_insecure_permissions: false,
            trusted_keys: Vec::new(),
            require_signature: false,
            max_retired_images: 1000,
            drain_timeout: Duration::from_secs(30),
        }
    }
}

impl PluginsConfig {
    pub(crate) fn verify_options(&self) -> VerifyOptions {
        VerifyOptions {
            allow_insecure_permissions: self.allow_insecure_permissions,
            trusted_keys: self.trusted_keys.clone(),
            require_signature: self.require_signature,
            folders: self.dirs.clone(),
            ..VerifyOptions::default()
        }
    }
}
