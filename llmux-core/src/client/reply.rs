//! The reply to a request: its result, and the headers and values that plugins left.

use http::{HeaderName, HeaderValue};
use llmux_abi::Value;

use super::stream::ReplyStream;
use crate::{document::Document, error::Error, pipeline::Head, provider::Binary};

/// The reply to a request that does not stream.
#[derive(Debug)]
#[non_exhaustive]
pub struct Reply {
    /// The response, or the error.
    pub result: Result<Document, Error>,
    /// The bytes of the answer, on an endpoint whose answer is not JSON. The document of `result` describes them. `None` if
    /// a plugin answered with a document.
    pub binary: Option<Binary>,
    head: Head,
}

impl Reply {
    pub(super) fn new(result: Result<Document, Error>, head: Head) -> Self {
        Self { result, binary: None, head }
    }

    pub(super) fn with_binary(mut self, binary: Option<Binary>) -> Self {
        self.binary = binary;
        self
    }
}

impl StreamReply {
    pub(super) fn new(result: Result<ReplyStream, Error>, head: Head) -> Self {
        Self { result, head }
    }
}

/// The reply to a request that streams.
#[non_exhaustive]
pub struct StreamReply {
    /// The chunks, or the error that came before the first chunk.
    pub result: Result<ReplyStream, Error>,
    head: Head,
}

macro_rules! reply {
    ($reply:ty) => {
        impl $reply {
            /// Returns the headers that plugins set for the client.
            pub fn headers(&self) -> &[(HeaderName, HeaderValue)] {
                &self.head.headers
            }

            /// Returns the headers of the provider's answer that go back to the client (rule F9). A header that a plugin or
            /// the server sets wins. None if a plugin answered.
            pub fn provider_headers(&self) -> &[(HeaderName, HeaderValue)] {
                &self.head.returned
            }

            /// Returns a value that plugins left in the context of the last attempt.
            pub fn value(&self, key: &str) -> Option<Value> {
                let values = &self.head.values;
                values.iter().find(|(name, _)| &**name == key).map(|(_, value)| value.to_value())
            }

            /// Returns every value that plugins left in the context of the last attempt, in the order of setting.
            pub fn values(&self) -> impl Iterator<Item = (&str, Value)> {
                self.head.values.iter().map(|(name, value)| (&**name, value.to_value()))
            }

            /// Returns the number of attempts: one, and one for each fallback.
            pub fn attempts(&self) -> u32 {
                self.head.attempts
            }

            /// Returns the deployment that was chosen last, as `provider/model`.
            pub fn deployment(&self) -> Option<&str> {
                self.head.deployment.as_deref()
            }
        }
    };
}

reply!(Reply);
reply!(StreamReply);
