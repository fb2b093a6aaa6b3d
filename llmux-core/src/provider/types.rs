//! The table of the provider types that a configuration can name.
//!
//! The program looks up the `type` of a `[[provider]]` here. An embedder that makes providers itself does not need it.

use std::sync::Arc;

use super::{BuildError, Provider, ProviderSettings, echo, openai};

/// A type of provider that a configuration can name.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct ProviderType {
    /// The type's name in the configuration.
    pub name: &'static str,
    /// A short description of the type.
    pub about: &'static str,
    /// Builds a provider from its settings. The error names the provider and what is wrong, and shows no secret.
    pub build: fn(&ProviderSettings) -> Result<Arc<dyn Provider>, BuildError>,
}

/// Every type. A new type is a file beside `echo.rs` and an entry here.
pub const TYPES: &[ProviderType] = &[
    ProviderType {
        name: "openai",
        about: "any OpenAI-compatible API over HTTP",
        build: openai::from_settings,
    },
    ProviderType {
        name: "echo",
        about: "answers offline with what it was asked",
        build: echo::from_settings,
    },
];
