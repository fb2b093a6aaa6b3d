//! The settings of a provider of any type.
//!
//! The program fills them from a `[[provider]]` of its configuration, and `types` hands them to the type's `build`.

use std::{fmt, time::Duration};

use super::secret::{self, Secret};

/// The settings of one provider. Each type ignores the settings that it does not use, so that changing the type in a
/// configuration to `echo` and back requires no other change.
///
/// ```
/// use llmux_core::provider::ProviderSettings;
///
/// let mut settings = ProviderSettings::new("local");
/// settings.base_url = Some("http://localhost:11434/v1".into());
/// ```
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ProviderSettings {
    /// The provider's name.
    pub name: String,
    /// Base URL of the API, version included. Default for `openai`: OpenAI's own.
    pub base_url: Option<String>,
    /// The API key.
    pub api_key: Option<Secret>,
    /// Name of the header that carries the API key as it is, such as Azure's `api-key`. Default: `authorization`, with
    /// `Bearer` before the key.
    pub api_key_header: Option<String>,
    /// Certificates of the authorities to trust, in PEM. Default: those of the system.
    pub ca: Option<Vec<u8>>,
    /// Certificate that the host shows to the provider, with its chain, in PEM.
    pub client_cert: Option<Vec<u8>>,
    /// Private key of `client_cert`, in PEM.
    pub client_key: Option<Secret>,
    /// Names and values of additional headers for every request.
    pub headers: Vec<(String, Secret)>,
    /// Names of the client's headers that go to the provider.
    pub forward_headers: Vec<String>,
    /// Names of the provider's headers that go back to the client. Default: those of [`ReturnedHeaders`].
    ///
    /// [`ReturnedHeaders`]: super::ReturnedHeaders
    pub return_headers: Option<Vec<String>>,
    /// Whether the client's `traceparent` and `tracestate` go to the provider. Default: true.
    pub forward_trace: bool,
    /// Time limit for opening a connection.
    pub connect_timeout: Option<Duration>,
    /// Time limit for a whole response that does not stream.
    pub timeout: Option<Duration>,
    /// Time limit for the silence in a stream.
    pub idle_timeout: Option<Duration>,
    /// Size limit of a response that does not stream, in bytes.
    pub max_response_bytes: Option<usize>,
    /// Whether the API supports `stream_options.include_usage`. Default: true.
    pub stream_usage: bool,
    /// Delay of `echo` before each chunk of a stream.
    pub chunk_delay: Option<Duration>,
}

impl ProviderSettings {
    /// Settings with a name alone: everything else is the type's default.
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            base_url: None,
            api_key: None,
            api_key_header: None,
            ca: None,
            client_cert: None,
            client_key: None,
            headers: Vec::new(),
            forward_headers: Vec::new(),
            return_headers: None,
            forward_trace: true,
            connect_timeout: None,
            timeout: None,
            idle_timeout: None,
            max_response_bytes: None,
            stream_usage: true,
            chunk_delay: None,
        }
    }
}

impl fmt::Debug for ProviderSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProviderSettings")
            .field("name", &self.name)
            .field("base_url", &self.base_url.as_deref().map(secret::without_credentials))
            .field("api_key", &self.api_key)
            .field("headers", &self.headers)
            .finish_non_exhaustive()
    }
}
