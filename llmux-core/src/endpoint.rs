//! The endpoints of the API: one table with a row for each, which says all that the host knows of it.
//!
//! Every layer above uses them. A new endpoint is a variant and a row. Deliberately absent: the shapes of requests and
//! responses.

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
    /// `POST /v1/moderations`, which never streams.
    Moderations,
    /// `POST /v1/images/generations`.
    ImageGenerations,
    /// `POST /v1/rerank`, which never streams.
    Rerank,
    /// `POST /v1/audio/speech`, whose answer is not JSON.
    Speech,
    /// `GET /v1/responses/{id}`.
    ResponseRetrieval,
    /// `DELETE /v1/responses/{id}`.
    ResponseDeletion,
    /// `POST /v1/responses/{id}/cancel`.
    ResponseCancellation,
}

/// Form in which an endpoint streams.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Streaming {
    /// As chunks without names, with `[DONE]` at the end, and with `stream_options.include_usage`.
    Chunks,
    /// As named events.
    Events,
    /// Not at all; `stream: true` in a request is ignored.
    Never,
    /// Not here; `stream: true` in a request is refused.
    Refused,
}

/// All that the host knows of an endpoint.
struct Row {
    endpoint: Endpoint,
    /// The name, which is also the path, except of a stored response.
    name: &'static str,
    streaming: Streaming,
    /// True if the answer is bytes of another type than JSON.
    is_binary: bool,
    /// The model of a request that names none, as in OpenAI's reference; `None` if a request must name one.
    model: Option<&'static str>,
    /// For a stored response: the method, and the part of the path after the id.
    stored: Option<(&'static str, &'static str)>,
}

const fn row(endpoint: Endpoint, name: &'static str, streaming: Streaming) -> Row {
    Row { endpoint, name, streaming, is_binary: false, model: None, stored: None }
}

const fn stored(endpoint: Endpoint, name: &'static str, method: &'static str, after_id: &'static str) -> Row {
    Row { stored: Some((method, after_id)), ..row(endpoint, name, Streaming::Never) }
}

/// The table, in the order of the variants.
const TABLE: [Row; 11] = [
    row(Endpoint::ChatCompletions, "chat/completions", Streaming::Chunks),
    row(Endpoint::Completions, "completions", Streaming::Chunks),
    row(Endpoint::Embeddings, "embeddings", Streaming::Never),
    row(Endpoint::Responses, "responses", Streaming::Events),
    Row {
        model: Some("omni-moderation-latest"),
        ..row(Endpoint::Moderations, "moderations", Streaming::Never)
    },
    Row {
        model: Some("dall-e-2"),
        ..row(Endpoint::ImageGenerations, "images/generations", Streaming::Refused)
    },
    row(Endpoint::Rerank, "rerank", Streaming::Never),
    Row { is_binary: true, ..row(Endpoint::Speech, "audio/speech", Streaming::Never) },
    stored(Endpoint::ResponseRetrieval, "responses/get", "GET", ""),
    stored(Endpoint::ResponseDeletion, "responses/delete", "DELETE", ""),
    stored(Endpoint::ResponseCancellation, "responses/cancel", "POST", "/cancel"),
];

impl Endpoint {
    /// Every endpoint whose request is a `POST` of JSON.
    pub const ALL: [Endpoint; 8] = [
        Endpoint::ChatCompletions,
        Endpoint::Completions,
        Endpoint::Embeddings,
        Endpoint::Responses,
        Endpoint::Moderations,
        Endpoint::ImageGenerations,
        Endpoint::Rerank,
        Endpoint::Speech,
    ];

    /// The endpoints of a stored response. The body of such a request has `model` and `response_id`, for hooks; the provider
    /// gets no body.
    pub const STORED: [Endpoint; 3] =
        [Endpoint::ResponseRetrieval, Endpoint::ResponseDeletion, Endpoint::ResponseCancellation];

    fn row(self) -> &'static Row {
        &TABLE[self as usize]
    }

    /// The endpoint's name in contexts, logs and metrics. For an endpoint of [`ALL`](Self::ALL) it is also the path below
    /// the API's base URL.
    pub fn path(self) -> &'static str {
        self.row().name
    }

    /// Returns true if a stream of this endpoint ends with `data: [DONE]` and supports `stream_options.include_usage`.
    pub fn ends_with_done(self) -> bool {
        self.row().streaming == Streaming::Chunks
    }

    /// Returns true if an answer of this endpoint can stream.
    pub fn streams(self) -> bool {
        matches!(self.row().streaming, Streaming::Chunks | Streaming::Events)
    }

    /// Returns true if a request for a stream of this endpoint is refused. Other endpoints that do not stream ignore it.
    pub(crate) fn refuses_stream(self) -> bool {
        self.row().streaming == Streaming::Refused
    }

    /// Returns true if the answer of this endpoint is bytes of another type than JSON.
    pub fn is_binary(self) -> bool {
        self.row().is_binary
    }

    /// The model of a request that names none; `None` if a request must name one.
    pub fn default_model(self) -> Option<&'static str> {
        self.row().model
    }

    /// The method of a request to a provider.
    pub fn method(self) -> &'static str {
        self.row().stored.map_or("POST", |(method, _)| method)
    }

    /// For an endpoint of [`STORED`](Self::STORED): the path of a response below the API's base URL. `id` is a segment of a
    /// path.
    pub(crate) fn stored_path(self, id: &str) -> Option<String> {
        self.row().stored.map(|(_, after_id)| format!("responses/{id}{after_id}"))
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.path())
    }
}

impl FromStr for Endpoint {
    type Err = ();

    fn from_str(name: &str) -> Result<Self, ()> {
        TABLE.iter().find(|row| row.name == name).map(|row| row.endpoint).ok_or(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_endpoint_has_its_row() {
        for (at, row) in TABLE.iter().enumerate() {
            assert_eq!(row.endpoint as usize, at, "{}", row.name);
            assert_eq!(row.name.parse(), Ok(row.endpoint));
            let listed = if row.stored.is_some() { &Endpoint::STORED[..] } else { &Endpoint::ALL[..] };
            assert!(listed.contains(&row.endpoint), "{}", row.name);
        }
        assert_eq!(Endpoint::ALL.len() + Endpoint::STORED.len(), TABLE.len());
        assert_eq!("responses/x".parse::<Endpoint>(), Err(()));
        let cancel = Endpoint::ResponseCancellation;
        assert_eq!(cancel.stored_path("r_1").as_deref(), Some("responses/r_1/cancel"));
    }
}
