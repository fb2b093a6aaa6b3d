//! The part of a reply beside its body: headers, values, and how the request was served.

use std::sync::Arc;

use http::{HeaderName, HeaderValue};

use super::collected::StoredValue;

/// The part of a reply beside its body.
#[derive(Clone, Debug, Default)]
pub(crate) struct Head {
    pub(crate) headers: Vec<(HeaderName, HeaderValue)>,
    /// Headers of the provider's answer that go back to the client.
    pub(crate) returned: Vec<(HeaderName, HeaderValue)>,
    pub(crate) values: Vec<(Arc<str>, StoredValue)>,
    pub(crate) attempts: u32,
    pub(crate) deployment: Option<Arc<str>>,
}
