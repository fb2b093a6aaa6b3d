//! Reasons why a provider cannot be built.
//!
//! `builder` returns them, and the program shows them.

/// The reason why a provider cannot be built. No message shows a key, a header's value, or the credentials in a URL.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BuildError {
    /// The base URL is not a usable URL.
    #[error("the base URL `{url}` of provider `{provider}` is not usable: {reason}")]
    BaseUrl {
        /// The provider's name.
        provider: String,
        /// The URL, without user, password and query.
        url: String,
        /// The reason why it cannot be used.
        reason: String,
    },
    /// The API key cannot be sent in a header.
    #[error("the API key of provider `{provider}` is empty or has characters that a header cannot carry")]
    ApiKey {
        /// The provider's name.
        provider: String,
    },
    /// A header's name or value is not valid in HTTP.
    #[error("the header `{header}` of provider `{provider}` has a name or a value that HTTP does not know")]
    Header {
        /// The provider's name.
        provider: String,
        /// The header's name.
        header: String,
    },
    /// A header may not pass between a client and the provider.
    #[error("the header `{header}` in `{list}` of provider `{provider}` {reason}")]
    PassedHeader {
        /// The provider's name.
        provider: String,
        /// The list that names the header.
        list: &'static str,
        /// The name, as the list has it.
        header: String,
        /// The reason, and what to do.
        reason: &'static str,
    },
    /// The connections of the provider cannot be prepared: its certificates or the proxy of the environment.
    #[error("the connections of provider `{provider}` cannot be prepared: {reason}")]
    Connections {
        /// The provider's name.
        provider: String,
        /// The reason, and what to do.
        reason: String,
    },
}
