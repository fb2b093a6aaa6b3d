//! The endpoints of the API: the path of each upstream, which is also its name in contexts, logs and metrics.
//!
//! Every layer above uses them. Deliberately absent: the shapes of requests and responses.

use std::{fmt, str::FromStr};

/// An endpoint of the OpenAI API. Requests of all endpoints take the same way through the pipeline.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Endpoint {
    /// `POST /v1/chat/completions`.
    ChatCompletions,
    /// `POST /v1/completions`.
    Completions,
    /// `POST /v1/embeddings`, which never streams.
    Embeddings,
    /// `POST /v1/responses`.
    Responses,
}

impl Endpoint {
    /// Every endpoint.
    pub const ALL: [Endpoint; 4] =
        [Endpoint::ChatCompletions, Endpoint::Completions, Endpoint::Embeddings, Endpoint::Responses];

    /// The path below the API's base URL, which is also the endpoint's name in contexts, logs and metrics.
    pub fn path(self) -> &'static str {
        match self {
            Endpoint::ChatCompletions => "chat/completions",
            Endpoint::Completions => "completions",
            Endpoint::Embeddings => "embeddings",
            Endpoint::Responses => "responses",
        }
    }

    /// Returns true if a stream of this endpoint ends with `data: [DONE]` and supports `stream_options.include_usage`.
    pub fn ends_with_done(self) -> bool {
        matches!(self, Endpoint::ChatCompletions | Endpoint::Completions)
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.path())
    }
}

impl FromStr for Endpoint {
    type Err = ();

    fn from_str(path: &str) -> Result<Self, ()> {
        Self::ALL.into_iter().find(|endpoint| endpoint.path() == path).ok_or(())
    }
}
