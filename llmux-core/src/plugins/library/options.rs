//! Options of the checks of a library. Plain data, which `verify` and `lookup` use.

use std::path::PathBuf;

use super::signature::TrustedKey;
use crate::setters::setters;

/// Options of the checks of a library.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct VerifyOptions {
    /// SHA-256 that the library must have, in hexadecimal; `None` for any.
    pub sha256: Option<String>,
    /// Accept files and folders that other users could change. Default `false`.
    pub allow_insecure_permissions: bool,
    /// Size limit of a file, in bytes. Default 256 MiB.
    pub max_size: u64,
    /// Keys whose signatures are trusted. If there are any, each signature must be by one of them.
    pub trusted_keys: Vec<TrustedKey>,
    /// Refuse libraries without a signature. Default `false`.
    pub require_signature: bool,
    /// Plugin folders. A symlink in one of them that resolves outside all of them is refused.
    pub folders: Vec<PathBuf>,
}

impl Default for VerifyOptions {
    fn default() -> Self {
        Self {
            sha256: None,
            allow_insecure_permissions: false,
            max_size: 256 * 1024 * 1024,
            trusted_keys: Vec::new(),
            require_signature: false,
            folders: Vec::new(),
        }
    }
}

setters! { VerifyOptions:
    /// Sets the SHA-256 that the library must have; `None` for any.
    with_sha256: sha256: Option<String>;
    /// Sets whether files and folders that other users could change are accepted.
    with_allow_insecure_permissions: allow_insecure_permissions: bool;
    /// Sets the size limit of a file, in bytes.
    with_max_size: max_size: u64;
    /// Sets the keys whose signatures are trusted.
    with_trusted_keys: trusted_keys: Vec<TrustedKey>;
    /// Sets whether libraries without a signature are refused.
    with_require_signature: require_signature: bool;
    /// Sets the plugin folders.
    with_folders: folders: Vec<PathBuf>;
}
